"""TEI's ``PredictInput``, for which TEI has its own deserializer (1.9.3, router/src/http/types.rs)."""

from typing import Any, Final

from typing_extensions import override

from embedfleet.dialects.serde.containers import end_list, has_item, seek_end_of_list
from embedfleet.dialects.serde.json_reader import OPEN_LIST, QUOTE, Fault, JsonReader
from embedfleet.dialects.serde.shapes import Listing, Shape, Text, Untagged, are_texts, first_byte, refuse

Json = Any

_TEXT: Final = Text()
_TEXTS: Final = Listing(_TEXT)
_INTERNAL: Final = Untagged("Internal", lambda value: isinstance(value, str) or are_texts(value))
_EXPECTED: Final = (
    "a string, a pair of strings [string, string] or a batch of mixed strings and pairs "
    "[[string], [string, string], ...]"
)


class PredictInput(Shape):
    """A text, a pair of texts in a list, or a list of lists of one or two texts."""

    @override
    def _read(self, reader: JsonReader, path: str) -> Json:
        first = first_byte(reader)
        if first == QUOTE:
            return reader.string()
        if first != OPEN_LIST:
            return refuse(reader, _EXPECTED, is_entered=True)
        reader.enter()
        try:
            found = self._items(reader, path)
        except Fault as fault:
            seek_end_of_list(reader, fault, path)
            raise
        end_list(reader)
        reader.leave()
        return found

    def _items(self, reader: JsonReader, path: str) -> list[Json]:
        if not has_item(reader, is_first=True):
            raise _invalid_length(0)
        found: list[Json] = [_INTERNAL.read(reader, f"{path}[0]")]
        if isinstance(found[0], str):
            while has_item(reader, is_first=False):
                found.append(_TEXT.read(reader, f"{path}[{len(found)}]"))
                if len(found) > 2:
                    raise _invalid_length(3)
            return found
        _check_length(found[0])
        while has_item(reader, is_first=False):
            found.append(_TEXTS.read(reader, f"{path}[{len(found)}]"))
            _check_length(found[-1])
        return found


def _check_length(texts: list[str]) -> None:
    if len(texts) not in (1, 2):
        raise _invalid_length(len(texts))


def _invalid_length(length: int) -> Fault:
    return Fault(f"invalid length {length}, expected {_EXPECTED}", is_data=True)
