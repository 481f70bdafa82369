"""Reads a request's body as TEI does, or refuses it with TEI's message."""

from typing import Any, Final

from embedfleet.dialects.serde.reader import Fault, Reader
from embedfleet.dialects.serde.shapes import Struct
from embedfleet.errors import MalformedBody, WrongShape

# About 30 ms of our time; a body of more is refused without its fault's place.
_MOST_ITEMS: Final = 10_000

NO_JSON: Final = "Failed to parse the request body as JSON: "
WRONG_SHAPE: Final = "Failed to deserialize the JSON body into the target type: "
"""How the messages of axum's JSON extractor begin."""


def is_readable(body: bytes) -> bool:
    """Whether a body has few enough items to be read here without holding up other clients."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") + body.count(b"\\") <= _MOST_ITEMS


def read_fields(body: bytes, struct: Struct) -> dict[str, Any]:
    """The fields of a body that TEI accepts; bytes after the JSON value are ignored.

    Raises:
        MalformedBody: it is no JSON, up to where TEI reads it.
        WrongShape: it is none of this struct.
    """
    try:
        return fields_of(body, struct)
    except Fault as fault:
        path = f"{fault.path}: " if fault.path else ""
        text = f"{path}{fault.message} at {_place(body, fault.at)}"
        raise (WrongShape(WRONG_SHAPE + text) if fault.is_data else MalformedBody(NO_JSON + text)) from None


def fields_of(body: bytes, struct: Struct) -> dict[str, Any]:
    """As `read_fields`, for a value inside a body that is already read, as an instance of ``/vertex``.

    Raises:
        Fault: of which TEI says neither path nor place.
    """
    fields: dict[str, Any] = struct.read(Reader(body), "")
    return fields


def _place(body: bytes, at: int) -> str:
    start = body.rfind(b"\n", 0, at) + 1
    line = 1 + body.count(b"\n", 0, start)
    return f"line {line} column {at - start}"
