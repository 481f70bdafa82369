"""Reading of JSON bodies, field by field, with the error messages of TEI's framework (axum 0.7 with serde_json).

orjson parses a body, and each field is checked when it is read. If a field is wrong, a second reading
(`embedfleet.dialects.serde`) makes the message, because only it knows which fault TEI would find first, and where.
"""

import re
from collections.abc import Collection
from typing import Any

import orjson

from embedfleet.dialects.parse_limits import find_excess
from embedfleet.dialects.serde.error_wording import NO_JSON, WRONG_SHAPE, is_readable, read_fields
from embedfleet.dialects.serde.rust_values import describe
from embedfleet.dialects.serde.structs import Struct
from embedfleet.errors import MalformedBody, WrongContentType, WrongShape

Json = Any
"""Any JSON value; the readers below check its type."""

_MISSING = object()
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")  # clients do not escape field names, but an attacker might
_MOST_KEYS = 16  # no known request has more than 8


def read_object(content_type: bytes | None, body: bytes, struct: Struct | None = None) -> "Fields":
    """Parse a body that is one JSON object.

    Args:
        content_type: Content type of the body.
        body: The whole body.
        struct: Fields as TEI declares them; None for a route that TEI does not have.

    Raises:
        WrongContentType: The content type is not JSON's.
        MalformedBody: The body is not JSON (RFC 8259), not UTF-8, nested too deeply, or has too many items.
        WrongShape: The body is not an object, or has a field twice.
    """
    if not is_json(content_type):
        raise WrongContentType("Expected request with `Content-Type: application/json`")
    excess = find_excess(body)
    if excess:
        raise MalformedBody(f"{NO_JSON}it has over {excess}")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if struct is None or not is_readable(body):
            raise MalformedBody(f"{NO_JSON}{error}") from None
        return Fields(read_fields(body, struct), struct=struct)
    if not isinstance(value, dict):
        if struct is None or not is_readable(body):
            raise _wrong(f"invalid type: {describe(value)}, expected an object")
        return Fields(read_fields(body, struct), struct=struct)
    if struct is not None and _may_repeat(body, value, struct):
        return Fields(read_fields(body, struct), body, struct)
    return Fields(value, body, struct)


def _may_repeat(body: bytes, value: dict[str, Json], struct: Struct) -> bool:
    """Whether a field may occur twice in the body: orjson takes the last value, TEI refuses the body.

    If there are no more colons than fields, no field occurs twice. Otherwise the whole body is searched for the names
    of its fields.
    """
    at = -1
    for _ in value:
        at = body.find(b":", at + 1)
    if body.find(b":", at + 1) < 0:
        return False
    names = struct.names if struct.is_nested else value
    if not any(name in struct.quoted and body.count(struct.quoted[name]) > 1 for name in names) and not (
        b"\\u00" in body and _ESCAPED_LETTER.search(body)
    ):
        return False
    return is_readable(body)


def is_json(content_type: bytes | None) -> bool:
    """Whether axum's extractor accepts this content type as JSON."""
    if content_type == b"application/json":
        return True
    media = (content_type or b"").partition(b";")[0].strip().lower()
    return media == b"application/json" or (media.startswith(b"application/") and media.endswith(b"+json"))


def repeats_a_key(body: bytes, keys: Collection[str]) -> bool:
    """Whether one of an object's keys may be in the body twice.

    Also True if a key may be written with an escape, or if there are too many keys to search for. The parsed fields
    have only the last value of such a key. A replica refuses the body, so a body written from the fields would mean
    something else.
    """
    if len(keys) > _MOST_KEYS or (b"\\u00" in body and _ESCAPED_LETTER.search(body)):
        return True
    for key in keys:
        name = key.encode()
        if body.count(b'"%b"' % name) > 1 and len(_uses(body, name)) > 1:
            return True
    return False


def _uses(body: bytes, name: bytes) -> list[bytes]:
    """Find the places where a name is a key, not a value."""
    return re.findall(rb'"%b"\s*:' % re.escape(name), body)


class Fields:
    """The fields of a JSON object; unknown ones are ignored, as in TEI.

    Every method raises WrongShape if the field has another type, or MalformedBody where TEI finds a syntax error first.
    Only the methods whose names start with ``optional`` treat null as absent.

    Args:
        values: Parsed values.
        body: Body of the values; empty if a second reading would not give a better message.
        struct: Fields as TEI declares them.
        path: Path of the object in the body, with a full stop at the end.
    """

    def __init__(
        self, values: dict[str, Json], body: bytes = b"", struct: Struct | None = None, path: str = ""
    ) -> None:
        self._values = values
        self._body = body
        self._struct = struct
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def raw(self, name: str) -> Json:
        """Read a required field of any type."""
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            raise self._refused(f"{self._path}missing field `{name}`")
        return value

    def optional(self, name: str) -> Json:
        """Read a field of any type; None if it is null or absent."""
        return self._values.get(name)

    def string(self, name: str) -> str:
        """Read a required string."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise self._mismatch(name, value, "a string")
        return value

    def sequence(self, name: str) -> list[Json]:
        """Read a required list."""
        value = self.raw(name)
        if not isinstance(value, list):
            raise self._mismatch(name, value, "a sequence")
        return value

    def strings(self, name: str) -> list[str]:
        """Read a required list of strings."""
        value = self.sequence(name)
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise self._mismatch(f"{name}[{index}]", item, "a string")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """Read a boolean; ``default`` if it is absent; null is an error."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise self._mismatch(name, value, "a boolean")
        return value

    def choice(self, name: str, choices: dict[str, str], default: str) -> str:
        """Read one of the keys of ``choices``, and return its value; ``default`` if it is absent; null is an error."""
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            return default
        if isinstance(value, dict) and list(value.values()) == [None]:  # serde accepts a name in this form too
            (value,) = value
        if not isinstance(value, str):
            raise self._mismatch(name, value, "a string")
        if value not in choices:
            known = ", ".join(f"`{choice}`" for choice in choices)
            raise self._refused(f"{self._path}{name}: unknown variant `{value}`, expected one of {known}")
        return choices[value]

    def optional_boolean(self, name: str) -> bool | None:
        """Read a boolean; None if it is null or absent."""
        return None if self._values.get(name) is None else self.boolean(name, default=False)

    def optional_string(self, name: str) -> str | None:
        """Read a string; None if it is null or absent."""
        return None if self._values.get(name) is None else self.string(name)

    def optional_count(self, name: str) -> int | None:
        """Read a whole number from 0; None if it is null or absent."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._mismatch(name, value, "usize")
        return value

    def object(self, name: str) -> "Fields":
        """Read a required object."""
        value = self.raw(name)
        # serde accepts an object in the form of a list too.
        if isinstance(value, list) and self._struct is not None and self._body:
            value = read_fields(self._body, self._struct)[name]
        if not isinstance(value, dict):
            raise self._mismatch(name, value, "an object")
        return Fields(value, self._body, self._struct, f"{self._path}{name}.")

    def optional_object(self, name: str) -> "Fields":
        """Read an object; null or an absent field gives an empty object."""
        return Fields({}) if self._values.get(name) is None else self.object(name)

    def unmatched(self, name: str, enum: str) -> WrongShape:
        """Make the error for a field that matches no variant of an enumeration."""
        return self._refused(f"{self._path}{name}: data did not match any variant of untagged enum {enum}")

    def _mismatch(self, name: str, value: Json, expected: str) -> WrongShape:
        return self._refused(f"{self._path}{name}: invalid type: {describe(value)}, expected {expected}")

    def _refused(self, message: str) -> WrongShape:
        """Make the error for a wrong field; its message is used only if the second reading finds no fault.

        Raises:
            MalformedBody: The second reading found a syntax error.
            WrongShape: The second reading found a wrong field, perhaps another one.
        """
        if self._struct is not None and self._body and is_readable(self._body):
            read_fields(self._body, self._struct)
        return _wrong(message)


def is_token_id(value: Json) -> bool:
    """Whether a JSON value is a token id: an unsigned 32-bit integer."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _wrong(message: str) -> WrongShape:
    return WrongShape(WRONG_SHAPE + message)
