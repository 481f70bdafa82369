"""The recorded requests and answers, as records."""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).parent / "recordings"
LONGEST_KEPT = 60_000  # bytes of an answer's body
_PAGES, _LONGEST_PAGE = ("/docs", "/api-doc"), 200

Field = tuple[str, str]
Body = str | dict[str, Any]
"""UTF-8 text; ``{"base64"}`` of other bytes; ``{"bytes"}``, the length of what is not kept."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        target: path with its query.
        headers: beside host, connection and length.
    """

    method: str
    target: str
    headers: tuple[Field, ...] = ()
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; status 0 means that it ended the connection without an answer."""

    status: int
    headers: tuple[Field, ...] = ()
    body: Body = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A request and what a real TEI answered.

    Attributes:
        name: unique in its file.
        died: TEI's process ended over it.
    """

    name: str
    request: Request
    answer: Answer
    died: bool = False


def kinds() -> list[str]:
    """The names of the recordings."""
    return sorted(file.stem for file in FOLDER.glob("*.jsonl"))


def read(kind: str) -> list[Case]:
    """All cases of one recording, in the order in which they were asked."""
    lines = (FOLDER / f"{kind}.jsonl").read_bytes().splitlines()
    return [_case(orjson.loads(line)) for line in lines]


def kept(data: bytes, target: str, longest: int = LONGEST_KEPT) -> Body:
    """A body as a recording keeps it."""
    limit = _LONGEST_PAGE if target.startswith(_PAGES) else longest
    if len(data) > limit:
        return {"bytes": len(data)}
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _case(row: dict[str, Any]) -> Case:
    headers = tuple((name, value) for name, value in row["sent_headers"].items())
    request = Request(row["method"], row["target"], headers, _sent(row))
    answer = Answer(row["status"], tuple((name, value) for name, value in row["headers"]), row["body"])
    return Case(row["name"], request, answer, died=row.get("died", False))


def _sent(row: dict[str, Any]) -> bytes:
    """The bytes that were sent; those of a long body are made again."""
    sent = row["sent"]
    if isinstance(sent, str):
        return sent.encode()
    if "base64" in sent:
        return b64decode(sent["base64"])
    key = "input" if row["target"] == "/v1/embeddings" else "inputs"
    room = sent["bytes"] - len(json.dumps({key: ""}))
    text = "red " * (room // 4) if row["name"].endswith("larger") else "a" * room
    return json.dumps({key: text}).encode()
