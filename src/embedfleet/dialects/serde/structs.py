"""Rust structs: objects with declared fields.

Source of the order of checks, the words and the paths: serde 1.0's derived code, serde_json 1.0, serde_path_to_error.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

from typing_extensions import override

from embedfleet.dialects.serde.containers import end_list, has_item, key_path, read_map, seek_end_of_list
from embedfleet.dialects.serde.json_reader import OPEN_LIST, OPEN_MAP, Fault, JsonReader
from embedfleet.dialects.serde.shapes import Optional, Shape, first_byte, refuse

Json = Any


class Absent(Enum):
    """Treatment of an absent field."""

    REFUSED = auto()
    NONE = auto()  # only in an object; in a list, the next value would be read instead
    DEFAULT = auto()


class Field:
    """A field of a `Struct`.

    Args:
        name: Key of the field.
        shape: Shape of its value.
        absent: Treatment if the field is absent.
        null_default: JSON of the default, for a field whose null TEI refuses although clients send it; empty for
            others.
    """

    __slots__ = ("absent", "name", "null_default", "shape")

    def __init__(self, name: str, shape: Shape, absent: Absent = Absent.REFUSED, *, null_default: bytes = b"") -> None:
        self.name = name
        self.shape = shape
        self.absent = absent
        self.null_default = null_default


class Struct(Shape):
    """A struct: an object (unknown fields are ignored), or a list of the fields' values in their order.

    Args:
        name: Name of the Rust type.
        fields: Fields, in the order of their declaration.

    Attributes:
        fields: Fields, in the order of their declaration.
        names: Names of all fields, and of the fields of nested structs.
        is_nested: Whether there are nested structs.
        quoted: Each name in its usual form in a body, with quotes.
    """

    def __init__(self, name: str, *fields: Field) -> None:
        self._name = name
        self.fields = fields
        self._shapes = {field.name: field.shape for field in fields}
        self.names: tuple[str, ...] = tuple(
            name for field in fields for name in (field.name, *_names_within(field.shape))
        )
        self.is_nested = len(self.names) > len(fields)
        self.quoted = {name: f'"{name}"'.encode() for name in self.names}

    def null_defaults(self) -> dict[str, bytes]:
        """Names of fields whose null TEI refuses, nested structs included, with the JSON of their defaults."""
        found: dict[str, bytes] = {}
        for field in self.fields:
            if field.null_default:
                found[field.name] = field.null_default
            nested = _struct_within(field.shape)
            if nested is not None:
                found |= nested.null_defaults()
        return found

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        first = first_byte(reader)
        if first == OPEN_LIST:
            return self._of_list(reader, path)
        if first == OPEN_MAP:
            return self._of_map(reader, path)
        return refuse(reader, f"struct {self._name}")

    def _of_map(self, reader: JsonReader, path: str) -> dict[str, Json]:
        found: dict[str, Json] = {}

        def keep(key: str) -> None:
            shape = self._shapes.get(key)
            if shape is None:
                reader.skip()
            else:
                found[key] = shape.read(reader, key_path(path, key))

        def check_key(key: str) -> None:
            if key in found:
                raise Fault(f"duplicate field `{key}`", is_data=True)

        def check() -> None:
            for field in self.fields:
                if field.absent is Absent.REFUSED and field.name not in found:
                    raise Fault(f"missing field `{field.name}`", is_data=True)

        read_map(reader, path, keep, check_key, check)
        return found

    def _of_list(self, reader: JsonReader, path: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        reader.enter()
        try:
            for index, field in enumerate(self.fields):
                if has_item(reader, is_first=not found):
                    found[field.name] = field.shape.read(reader, f"{path}[{index}]")
                elif field.absent is not Absent.DEFAULT:
                    raise self._invalid_length(index)
        except Fault as fault:
            seek_end_of_list(reader, fault, path)
            raise
        end_list(reader)
        reader.leave()
        return found

    def _invalid_length(self, given: int) -> Fault:
        count = len(self.fields)
        expected = f"struct {self._name} with {count} element{'' if count == 1 else 's'}"
        return Fault(f"invalid length {given}, expected {expected}", is_data=True)


def _struct_within(shape: Shape) -> Struct | None:
    """The shape itself if it is a struct, or the struct within an optional shape."""
    if isinstance(shape, Optional):
        return _struct_within(shape.shape)
    return shape if isinstance(shape, Struct) else None


def _names_within(shape: Shape) -> Sequence[str]:
    struct = _struct_within(shape)
    return () if struct is None else struct.names
