"""JSON bodies read field by field, refused in the words that TEI's framework uses (axum 0.7 with serde_json).

A body is parsed by orjson, and its fields are looked at as they are asked for. What these find wrong is said by a
second reading, see `embedfleet.dialects.serde`: it alone knows what TEI would have found first, and where.
"""

import re
from collections.abc import Collection
from typing import Any

import orjson

from embedfleet.dialects.excess import find_excess
from embedfleet.dialects.serde.reading import NO_JSON, WRONG_SHAPE, is_readable, read_fields
from embedfleet.dialects.serde.shapes import Struct
from embedfleet.dialects.serde.words import told
from embedfleet.errors import MalformedBody, WrongContentType, WrongShape

Json = Any
"""What a JSON text can hold; every use is checked by the readers below."""

_MISSING = object()
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")  # nobody writes a field's name so, but a body may be sent to see
_MOST_KEYS = 16  # of a request's fields; the longest that we know has 8


def read_object(content_type: bytes | None, body: bytes, struct: Struct | None = None) -> "Fields":
    """The body's one JSON object.

    Args:
        content_type: of the body.
        body: whole.
        struct: what TEI takes; None for a route that is only ours.

    Raises:
        WrongContentType: the type is not JSON's.
        MalformedBody: not JSON (RFC 8259), not UTF-8, nested too deeply, or of too many tiny items to be parsed.
        WrongShape: JSON, but not an object, or one that has a field twice.
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
            raise _wrong(f"invalid type: {told(value)}, expected an object")
        return Fields(read_fields(body, struct), struct=struct)
    if struct is not None and _may_repeat(body, value, struct):
        return Fields(read_fields(body, struct), body, struct)
    return Fields(value, body, struct)


def _may_repeat(body: bytes, value: dict[str, Json], struct: Struct) -> bool:
    """Whether a field may be there twice: orjson takes the last, TEI none.

    Where there are as many colons as fields, there is no more to be looked for. Bytes are searched for nothing else but
    the names that are there: a long text with a colon in it costs a third of a nanosecond a byte.
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
    """Whether a body of this type is JSON, as axum's extractor sees it."""
    if content_type == b"application/json":
        return True
    media = (content_type or b"").partition(b";")[0].strip().lower()
    return media == b"application/json" or (media.startswith(b"application/") and media.endswith(b"+json"))


def repeats_a_key(body: bytes, keys: Collection[str]) -> bool:
    """Whether one of an object's keys may be there twice, or there are more than can be looked for.

    Of such a key only the last value was read: a replica refuses it, so what is written from that means something else.
    """
    if len(keys) > _MOST_KEYS:
        return True
    for key in keys:
        name = key.encode()
        if body.count(b'"%b"' % name) > 1 and len(_uses(body, name)) > 1:
            return True
    return False


def _uses(body: bytes, name: bytes) -> list[bytes]:
    """Where a name is a key, and not a value that is the same string."""
    return re.findall(rb'"%b"\s*:' % re.escape(name), body)


class Fields:
    """A JSON object's fields; unknown ones are ignored, as TEI ignores them.

    Every reader raises WrongShape, or MalformedBody where TEI says so, when the field is not of its type. A null counts
    as absent only in the readers whose name starts with ``optional``.

    Args:
        values: parsed.
        body: of which they were; empty if there is no more to be said of it.
        struct: what TEI takes.
        path: of the object in the body, with its full stop.
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
        """A field that must be there, of any type."""
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            raise self._refused(f"{self._path}missing field `{name}`")
        return value

    def optional(self, name: str) -> Json:
        """A field of any type; None where it is null or absent."""
        return self._values.get(name)

    def string(self, name: str) -> str:
        """A string that must be there."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise self._mismatch(name, value, "a string")
        return value

    def sequence(self, name: str) -> list[Json]:
        """A list that must be there."""
        value = self.raw(name)
        if not isinstance(value, list):
            raise self._mismatch(name, value, "a sequence")
        return value

    def strings(self, name: str) -> list[str]:
        """A list of strings that must be there."""
        value = self.sequence(name)
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise self._mismatch(f"{name}[{index}]", item, "a string")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """A boolean, by default ``default``; null is refused."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise self._mismatch(name, value, "a boolean")
        return value

    def choice(self, name: str, choices: dict[str, str], default: str) -> str:
        """One of the keys of ``choices``, given as its value; null is refused."""
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            return default
        if isinstance(value, dict) and list(value.values()) == [None]:  # another way to write a name for serde
            (value,) = value
        if not isinstance(value, str):
            raise self._mismatch(name, value, "a string")
        if value not in choices:
            known = ", ".join(f"`{choice}`" for choice in choices)
            raise self._refused(f"{self._path}{name}: unknown variant `{value}`, expected one of {known}")
        return choices[value]

    def optional_boolean(self, name: str) -> bool | None:
        """A boolean, or None where it is null or absent."""
        return None if self._values.get(name) is None else self.boolean(name, default=False)

    def optional_string(self, name: str) -> str | None:
        """A string, or None where it is null or absent."""
        return None if self._values.get(name) is None else self.string(name)

    def optional_count(self, name: str) -> int | None:
        """A whole number from 0, or None where it is null or absent."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._mismatch(name, value, "usize")
        return value

    def object(self, name: str) -> "Fields":
        """An object that must be there."""
        value = self.raw(name)
        if isinstance(value, list) and self._struct is not None and self._body:  # another way to write one for serde
            value = read_fields(self._body, self._struct)[name]
        if not isinstance(value, dict):
            raise self._mismatch(name, value, "an object")
        return Fields(value, self._body, self._struct, f"{self._path}{name}.")

    def optional_object(self, name: str) -> "Fields":
        """An object; an empty one where it is null or absent."""
        return Fields({}) if self._values.get(name) is None else self.object(name)

    def unmatched(self, name: str, enum: str) -> WrongShape:
        """The refusal of a field that fits none of an enumeration's shapes."""
        return self._refused(f"{self._path}{name}: data did not match any variant of untagged enum {enum}")

    def _mismatch(self, name: str, value: Json, expected: str) -> WrongShape:
        return self._refused(f"{self._path}{name}: invalid type: {told(value)}, expected {expected}")

    def _refused(self, message: str) -> WrongShape:
        """What to raise; ``message`` is said of what TEI has no word for.

        Raises:
            MalformedBody, WrongShape: TEI refuses the body, perhaps for another field.
        """
        if self._struct is not None and self._body and is_readable(self._body):
            read_fields(self._body, self._struct)
        return _wrong(message)


def is_id(value: Json) -> bool:
    """Whether a JSON value is a token id: a whole number of 32 bits without sign."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _wrong(message: str) -> WrongShape:
    return WrongShape(WRONG_SHAPE + message)
