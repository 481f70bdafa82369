"""The second reading of a request's body, which accepts what TEI accepts, and refuses with TEI's message."""

from typing import Any, Final

from embedfleet.dialects.serde.json_reader import Fault, JsonReader
from embedfleet.dialects.serde.structs import Struct
from embedfleet.errors import MalformedBody, WrongShape

# The second reading is slow. A body with more items is refused without the position of its fault.
_MOST_ITEMS: Final = 10_000

NO_JSON: Final = "Failed to parse the request body as JSON: "
WRONG_SHAPE: Final = "Failed to deserialize the JSON body into the target type: "
"""Beginnings of the messages of axum's JSON extractor."""


def is_readable(body: bytes) -> bool:
    """Whether a body has so few items that a second reading does not delay other clients."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") + body.count(b"\\") <= _MOST_ITEMS


def read_fields(body: bytes, struct: Struct) -> dict[str, Any]:
    """Read the fields of a body that TEI accepts; bytes after the JSON value are ignored.

    Raises:
        MalformedBody: The part of the body that TEI reads is not JSON.
        WrongShape: The body does not fit the struct.
    """
    try:
        return fields_of(body, struct)
    except Fault as fault:
        path = f"{fault.path}: " if fault.path else ""
        text = f"{path}{fault.message} at {_position(body, fault.at)}"
        raise (WrongShape(WRONG_SHAPE + text) if fault.is_data else MalformedBody(NO_JSON + text)) from None


def fields_of(body: bytes, struct: Struct) -> dict[str, Any]:
    """Read the fields of a value inside another body, such as an instance of ``/vertex``.

    Raises:
        Fault: The value does not fit the struct; TEI reports neither path nor position.
    """
    fields: dict[str, Any] = struct.read(JsonReader(body), "")
    return fields


def _position(body: bytes, at: int) -> str:
    start = body.rfind(b"\n", 0, at) + 1
    line = 1 + body.count(b"\n", 0, start)
    return f"line {line} column {at - start}"
