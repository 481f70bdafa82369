"""Shapes of JSON values; each is read as serde reads the Rust type of the same name.

Source of the order of checks, the words and the paths: serde 1.0's derived code, serde_json 1.0, serde_path_to_error.
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Final

from embedfleet.dialects.serde.brackets import (
    end_list,
    has_item,
    key_path,
    read_list,
    read_map,
    seek_end_of_list,
    seek_end_of_map,
)
from embedfleet.dialects.serde.reader import (
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
    Reader,
)
from embedfleet.dialects.serde.words import told

Json = Any
_WORDS: Final = frozenset(b"ntf")


class Shape(metaclass=ABCMeta):
    """A type that a JSON value must have."""

    def read(self, reader: Reader, path: str) -> Json:
        """Read the value that comes next.

        Raises:
            Fault: it is not of this shape; with its path, and mostly its place.
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
    def _read(self, reader: Reader, path: str) -> Json:
        """As `read`; a fault may lack what is known there."""


class Text(Shape):
    """A ``String``."""

    def _read(self, reader: Reader, path: str) -> Json:  # noqa: ARG002 - every shape has a path
        return reader.string() if _next(reader) == QUOTE else _refuse(reader, "a string")


class Boolean(Shape):
    """A ``bool``."""

    def _read(self, reader: Reader, path: str) -> Json:  # noqa: ARG002
        first = _next(reader)
        return reader.word(first) if first in b"tf" else _refuse(reader, "a boolean")


class Count(Shape):
    """A ``usize``."""

    def _read(self, reader: Reader, path: str) -> Json:  # noqa: ARG002
        first = _next(reader)
        if first != MINUS and first not in DIGITS:
            return _refuse(reader, "usize")
        number = reader.number()
        if isinstance(number, float):
            raise _invalid("type", number, "usize")
        if number < 0:
            raise _invalid("value", number, "usize")
        return number


class Optional(Shape):
    """An ``Option``; null stands for ``None``.

    Args:
        shape: of what is not null.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def _read(self, reader: Reader, path: str) -> Json:
        if reader.peek() == ord("n"):
            return reader.word(ord("n"))
        return self._shape.read(reader, path)


class Choice(Shape):
    """An enumeration whose values are strings.

    Args:
        names: in the order in which they are declared.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def _read(self, reader: Reader, path: str) -> Json:
        first = _next(reader)
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

    def _name(self, reader: Reader, path: str) -> str:
        name: str = _VARIANT.read(reader, path)
        if name not in self._names:
            names = [f"`{known}`" for known in self._names]
            expected = " or ".join(names) if len(names) == 2 else f"one of {', '.join(names)}"
            raise Fault(f"unknown variant `{name}`, expected {expected}", reader.index, is_data=True)
        return name


class _Variant(Shape):
    def _read(self, reader: Reader, path: str) -> Json:  # noqa: ARG002
        return reader.string() if _next(reader) == QUOTE else _refuse(reader, "variant identifier")


class _Nothing(Shape):
    def _read(self, reader: Reader, path: str) -> Json:  # noqa: ARG002
        first = _next(reader)
        return reader.word(first) if first == ord("n") else _refuse(reader, "unit")


_VARIANT: Final = _Variant()


class Anything(Shape):
    """Any value, with lists and objects nested at most 127 deep."""

    def _read(self, reader: Reader, path: str) -> Json:
        first = _next(reader)
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
        name: of the enumeration.
        is_one: whether a value is of any of its variants.
    """

    def __init__(self, name: str, is_one: Callable[[Json], bool]) -> None:
        self._name = name
        self._is_one = is_one

    def read(self, reader: Reader, path: str) -> Json:
        """As `Shape.read`; that nothing fits is found out when the value is behind: its place is the outer one's."""
        value = ANYTHING.read(reader, path)
        if not self._is_one(value):
            fault = Fault(f"data did not match any variant of untagged enum {self._name}", is_data=True)
            fault.path = path
            raise fault
        return value

    def _read(self, reader: Reader, path: str) -> Json:
        return self.read(reader, path)


class Listing(Shape):
    """A ``Vec``.

    Args:
        item: its items' shape.
    """

    def __init__(self, item: Shape) -> None:
        self._item = item

    def _read(self, reader: Reader, path: str) -> Json:
        if _next(reader) != OPEN_LIST:
            return _refuse(reader, "a sequence")
        return read_list(reader, path, lambda index: self._item.read(reader, f"{path}[{index}]"))


class Absent(Enum):
    """What happens if a field is absent."""

    REFUSED = auto()
    NONE = auto()  # in an object; in a list a field behind it would be taken for it
    DEFAULT = auto()


class Field:
    """A field of a `Struct`.

    Args:
        name: its key.
        shape: its value's.
        absent: what if it is not there.
    """

    __slots__ = ("absent", "name", "shape")

    def __init__(self, name: str, shape: Shape, absent: Absent = Absent.REFUSED) -> None:
        self.name = name
        self.shape = shape
        self.absent = absent


class Struct(Shape):
    """A struct: an object (unknown fields are ignored), or a list of the fields' values in their order.

    Args:
        name: of the Rust type.
        fields: in the order in which they are declared.

    Attributes:
        fields: as given.
        names: of all fields, and of fields of fields.
        is_nested: whether there are such.
        quoted: each name as it mostly stands in a body.
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

    def _read(self, reader: Reader, path: str) -> Json:
        first = _next(reader)
        if first == OPEN_LIST:
            return self._of_list(reader, path)
        if first == OPEN_MAP:
            return self._of_map(reader, path)
        return _refuse(reader, f"struct {self._name}")

    def _of_map(self, reader: Reader, path: str) -> dict[str, Json]:
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

    def _of_list(self, reader: Reader, path: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        reader.enter()
        try:
            for index, field in enumerate(self.fields):
                if has_item(reader, is_first=not found):
                    found[field.name] = field.shape.read(reader, f"{path}[{index}]")
                elif field.absent is not Absent.DEFAULT:
                    raise self._length(index)
        except Fault as fault:
            seek_end_of_list(reader, fault, path)
            raise
        end_list(reader)
        reader.leave()
        return found

    def _length(self, given: int) -> Fault:
        count = len(self.fields)
        wanted = f"struct {self._name} with {count} element{'' if count == 1 else 's'}"
        return Fault(f"invalid length {given}, expected {wanted}", is_data=True)


def _names_within(shape: Shape) -> Sequence[str]:
    if isinstance(shape, Optional):
        return _names_within(shape._shape)  # noqa: SLF001 - of the same module
    return shape.names if isinstance(shape, Struct) else ()


class Predicted(Shape):
    """TEI's ``PredictInput``: a text, a pair of texts in a list, or a list of lists of one or two texts."""

    _EXPECTED = (
        "a string, a pair of strings [string, string] or a batch of mixed strings and pairs "
        "[[string], [string, string], ...]"
    )

    def _read(self, reader: Reader, path: str) -> Json:
        first = _next(reader)
        if first == QUOTE:
            return reader.string()
        if first != OPEN_LIST:
            return _refuse(reader, self._EXPECTED, is_taken=True)
        reader.enter()
        try:
            found = self._items(reader, path)
        except Fault as fault:
            seek_end_of_list(reader, fault, path)
            raise
        end_list(reader)
        reader.leave()
        return found

    def _items(self, reader: Reader, path: str) -> list[Json]:
        if not has_item(reader, is_first=True):
            raise self._length(0)
        found: list[Json] = [_INTERNAL.read(reader, f"{path}[0]")]
        if isinstance(found[0], str):
            while has_item(reader, is_first=False):
                found.append(_TEXT.read(reader, f"{path}[{len(found)}]"))
                if len(found) > 2:
                    raise self._length(3)
            return found
        self._check(found[0])
        while has_item(reader, is_first=False):
            found.append(_TEXTS.read(reader, f"{path}[{len(found)}]"))
            self._check(found[-1])
        return found

    def _check(self, texts: list[str]) -> None:
        if len(texts) not in (1, 2):
            raise self._length(len(texts))

    def _length(self, length: int) -> Fault:
        return Fault(f"invalid length {length}, expected {self._EXPECTED}", is_data=True)


def is_texts(value: Json) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_TEXT: Final = Text()
_TEXTS: Final = Listing(_TEXT)
_INTERNAL: Final = Untagged("Internal", lambda value: isinstance(value, str) or is_texts(value))


def _next(reader: Reader) -> int:
    """The first byte of a value."""
    first = reader.peek()
    if first == END:
        raise reader.fault_ahead(EOF_VALUE)
    return first


def _invalid(what: str, value: Json, expected: str) -> Fault:
    return Fault(f"invalid {what}: {told(value)}, expected {expected}", is_data=True)


def _refuse(reader: Reader, expected: str, *, is_taken: bool = False) -> Json:
    """The value that comes next is of another type.

    Raises:
        Fault: always; a list or an object is taken first only if ``is_taken``.
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
    if is_taken:
        reader.enter()
        seek_end_of_map(reader)
    raise _invalid("type", {}, expected)
