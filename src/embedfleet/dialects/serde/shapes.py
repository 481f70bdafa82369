"""Shapes of JSON values, each read as serde reads the corresponding Rust type.

Source of the order of checks, the words and the paths: serde 1.0's derived code, serde_json 1.0, serde_path_to_error.
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from typing_extensions import override

from embedfleet.dialects.serde.containers import key_path, read_list, read_map, seek_end_of_map
from embedfleet.dialects.serde.json_reader import (
    CLOSE_MAP,
    DIGITS,
    END,
    EOF_MAP,
    EOF_VALUE,
    EXPECTED_VALUE,
    MINUS,
    OPEN_LIST,
    OPEN_MAP,
    QUOTE,
    Fault,
    JsonReader,
)
from embedfleet.dialects.serde.rust_values import describe

Json = Any
_WORDS: Final = frozenset(b"ntf")


class Shape(metaclass=ABCMeta):
    """A type that a JSON value must have."""

    def read(self, reader: JsonReader, path: str) -> Json:
        """Read the next value.

        Raises:
            Fault: The value has another shape. The fault has its path and usually its position.
        """
        try:
            return self._read(reader, path)
        except Fault as fault:
            if fault.path is None:
                fault.path = path
            if fault.at < 0:
                fault.at = reader.index
            raise

    @abstractmethod
    def _read(self, reader: JsonReader, path: str) -> Json:
        """Read the next value; `read` adds the path and the position of a fault if they are missing."""


class Text(Shape):
    """A ``String``."""

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        return reader.string() if first_byte(reader) == QUOTE else refuse(reader, "a string")


class Boolean(Shape):
    """A ``bool``."""

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        first = first_byte(reader)
        return reader.word(first) if first in b"tf" else refuse(reader, "a boolean")


class Count(Shape):
    """A ``usize``."""

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        first = first_byte(reader)
        if first != MINUS and first not in DIGITS:
            return refuse(reader, "usize")
        number = reader.number()
        if isinstance(number, float):
            raise _invalid("type", number, "usize")
        if number < 0:
            raise _invalid("value", number, "usize")
        return number


class Optional(Shape):
    """An ``Option``; null stands for ``None``.

    Args:
        shape: Shape of a value that is not null.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        if reader.peek() == ord("n"):
            return reader.word(ord("n"))
        return self.shape.read(reader, path)


class Choice(Shape):
    """An enumeration whose values are strings.

    Args:
        names: The values, in the order of their declaration.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        first = first_byte(reader)
        if first == QUOTE:
            return self._name(reader, path)
        if first != OPEN_MAP:
            raise reader.fault_ahead(EXPECTED_VALUE)
        reader.enter()
        name = self._name(reader, path)
        reader.colon()
        _Nothing().read(reader, key_path(path, name))
        if reader.peek() != CLOSE_MAP:
            raise reader.fault(EOF_MAP if reader.peek() == END else EXPECTED_VALUE)
        reader.take()
        reader.leave()
        return name

    def _name(self, reader: JsonReader, path: str) -> str:
        name: str = _VARIANT.read(reader, path)
        if name not in self._names:
            names = [f"`{known}`" for known in self._names]
            expected = " or ".join(names) if len(names) == 2 else f"one of {', '.join(names)}"
            raise Fault(f"unknown variant `{name}`, expected {expected}", reader.index, is_data=True)
        return name


class _Variant(Shape):
    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        return reader.string() if first_byte(reader) == QUOTE else refuse(reader, "variant identifier")


class _Nothing(Shape):
    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        first = first_byte(reader)
        return reader.word(first) if first == ord("n") else refuse(reader, "unit")


_VARIANT: Final = _Variant()


class Anything(Shape):
    """Any value, with lists and objects nested at most 127 deep."""

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        first = first_byte(reader)
        if first in _WORDS:
            return reader.word(first)
        if first == QUOTE:
            return reader.string()
        if first == MINUS or first in DIGITS:
            return reader.number()
        if first == OPEN_LIST:
            return read_list(reader, path, lambda index: self.read(reader, f"{path}[{index}]"))
        if first != OPEN_MAP:
            raise reader.fault_ahead(EXPECTED_VALUE)
        found: dict[str, Json] = {}

        def keep(key: str) -> None:
            found[key] = self.read(reader, key_path(path, key))

        read_map(reader, path, keep)
        return found


ANYTHING: Final = Anything()


class Untagged(Shape):
    """An untagged enumeration: the first variant whose type fits.

    Args:
        name: Name of the enumeration.
        is_variant: Function that tells whether a value matches any variant.
    """

    def __init__(self, name: str, is_variant: Callable[[Json], bool]) -> None:
        self._name = name
        self._is_variant = is_variant

    @override
    def read(self, reader: JsonReader, path: str) -> Json:
        value = ANYTHING.read(reader, path)
        if not self._is_variant(value):
            # serde finds this after the whole value, so the enclosing shape sets the position.
            fault = Fault(f"data did not match any variant of untagged enum {self._name}", is_data=True)
            fault.path = path
            raise fault
        return value

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        return self.read(reader, path)


class Listing(Shape):
    """A ``Vec``.

    Args:
        item: Shape of the items.
    """

    def __init__(self, item: Shape) -> None:
        self._item = item

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        if first_byte(reader) != OPEN_LIST:
            return refuse(reader, "a sequence")
        return read_list(reader, path, lambda index: self._item.read(reader, f"{path}[{index}]"))


def are_texts(value: Json) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def first_byte(reader: JsonReader) -> int:
    """The first byte of the next value; it is not consumed.

    Raises:
        Fault: The body ends before the value.
    """
    first = reader.peek()
    if first == END:
        raise reader.fault_ahead(EOF_VALUE)
    return first


def refuse(reader: JsonReader, expected: str, *, is_entered: bool = False) -> Json:
    """Refuse the next value, which has another type.

    Args:
        reader: Reader of the body.
        expected: The expected type, in serde's words.
        is_entered: Whether serde enters the object before it refuses it, which moves the position.

    Raises:
        Fault: Always.
    """
    first = reader.peek()
    if first in _WORDS:
        raise _invalid("type", reader.word(first), expected)
    if first == QUOTE:
        raise _invalid("type", reader.string(), expected)
    if first == MINUS or first in DIGITS:
        raise _invalid("type", reader.number(), expected)
    if first == OPEN_LIST:
        raise _invalid("type", [], expected)
    if first != OPEN_MAP:
        raise reader.fault_ahead(EXPECTED_VALUE)
    if is_entered:
        reader.enter()
        seek_end_of_map(reader)
    raise _invalid("type", {}, expected)


def _invalid(what: str, value: Json, expected: str) -> Fault:
    return Fault(f"invalid {what}: {describe(value)}, expected {expected}", is_data=True)
