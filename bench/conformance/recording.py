"""Recorded requests and answers."""

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
"""A body: UTF-8 text, ``{"base64"}`` of other bytes, or ``{"bytes"}`` with the length of a body that is not kept."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Attributes:
        target: Path with its query.
        headers: Headers except host, connection and length.
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
    """A server's answer; status 0 means that the server closed the connection without an answer."""

    status: int
    headers: tuple[Field, ...] = ()
    body: Body = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A request and the answer of a real TEI.

    Attributes:
        name: Name, unique in its file.
        died: Whether the request ended TEI's process.
    """

    name: str
    request: Request
    answer: Answer
    died: bool = False


def kinds() -> list[str]:
    """The names of the recordings."""
    return sorted(file.stem for file in FOLDER.glob("*.jsonl"))


def read(kind: str) -> list[Case]:
    """The cases of a recording, in the order in which they were asked."""
    lines = (FOLDER / f"{kind}.jsonl").read_bytes().splitlines()
    return [_case(orjson.loads(line)) for line in lines]


def kept(data: bytes, target: str, longest: int = LONGEST_KEPT) -> Body:
    """A body in the form of a recording."""
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
    """The bytes that were sent; a long body is generated again."""
    sent = row["sent"]
    if isinstance(sent, str):
        return sent.encode()
    if "base64" in sent:
        return b64decode(sent["base64"])
    key = "input" if row["target"] == "/v1/embeddings" else "inputs"
    room = sent["bytes"] - len(json.dumps({key: ""}))
    text = "red " * (room // 4) if row["name"].endswith("larger") else "a" * room
    return json.dumps({key: text}).encode()
