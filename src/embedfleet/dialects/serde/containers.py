"""Reading of lists and objects in serde_json's order, with the paths of serde_path_to_error in messages."""

from collections.abc import Callable
from functools import partial
from typing import Any

from embedfleet.dialects.serde.json_reader import (
    CLOSE_LIST,
    CLOSE_MAP,
    COMMA,
    END,
    EOF_LIST,
    EOF_MAP,
    EOF_VALUE,
    KEY,
    LIST_COMMA,
    MAP_COMMA,
    QUOTE,
    TRAILING,
    TRAILING_COMMA,
    Fault,
    JsonReader,
)


def key_path(path: str, key: str) -> str:
    """Extend the path of an object to the value of one of its keys."""
    return f"{path}.{key}" if path else key


def read_list(reader: JsonReader, path: str, read_item: Callable[[int], Any]) -> list[Any]:
    """Read a list whose opening bracket is next.

    Args:
        reader: Reader of the body.
        path: Path of the list.
        read_item: Function that reads the item at an index.
    """
    found: list[Any] = []
    reader.enter()
    try:
        while has_item(reader, is_first=not found):
            found.append(read_item(len(found)))
    except Fault as fault:
        seek_end_of_list(reader, fault, path)
        raise
    end_list(reader)
    reader.leave()
    return found


def has_item(reader: JsonReader, *, is_first: bool) -> bool:
    """Whether a list has another item; the comma before it is consumed."""
    found = reader.peek()
    if found == CLOSE_LIST:
        return False
    if found == END:
        raise reader.fault_ahead(EOF_LIST)
    if is_first:
        return True
    if found != COMMA:
        raise reader.fault_ahead(LIST_COMMA)
    reader.take()
    found = reader.peek()
    if found == CLOSE_LIST:
        raise reader.fault_ahead(TRAILING_COMMA)
    if found == END:
        raise reader.fault_ahead(EOF_VALUE)
    return True


def end_list(reader: JsonReader) -> None:
    """Consume a list's closing bracket.

    Raises:
        Fault: Something else comes next.
    """
    found = reader.peek()
    if found == CLOSE_LIST:
        reader.take()
        return
    if found == COMMA:
        reader.take()
        raise reader.fault_ahead(TRAILING_COMMA if reader.peek() == CLOSE_LIST else TRAILING)
    raise reader.fault_ahead(EOF_LIST if found == END else TRAILING)


def seek_end_of_list(reader: JsonReader, fault: Fault, path: str) -> None:
    """Move past a refused list, as serde does, and set the path of the fault if it is unknown.

    `Shape.read` then takes an unknown position from the reader.
    """
    if fault.path is None:
        fault.path = path
    if reader.peek() in (CLOSE_LIST, COMMA):
        reader.take()
        reader.peek()


def read_map(
    reader: JsonReader,
    path: str,
    keep: Callable[[str], None],
    check_key: Callable[[str], None] | None = None,
    check: Callable[[], None] | None = None,
) -> None:
    """Read an object.

    Args:
        reader: Reader of the body.
        path: Path of the object.
        keep: Function that reads the value of a key.
        check_key: Function that checks a key before its value is read.
        check: Function that checks the whole object.
    """
    reader.enter()
    try:
        is_first = True
        while _has_key(reader, path, is_first=is_first):
            is_first = False
            key = _read_key(reader, path)
            if check_key is not None:
                check_key(key)
            _read_value(reader, key_path(path, key), partial(keep, key))
        if check is not None:
            check()
    except Fault as fault:
        if fault.path is None:
            fault.path = path
        seek_end_of_map(reader)
        raise
    reader.take()
    reader.leave()


def _read_value(reader: JsonReader, path: str, take: Callable[[], None]) -> None:
    try:
        reader.colon()
        take()
    except Fault as fault:
        if fault.path is None:
            fault.path = path
        raise


def seek_end_of_map(reader: JsonReader) -> None:
    """Move past a refused object, as serde does."""
    if reader.peek() == CLOSE_MAP:
        reader.take()


def _has_key(reader: JsonReader, path: str, *, is_first: bool) -> bool:
    found = reader.peek()
    if found == CLOSE_MAP:
        return False
    if found == END:
        raise _in_key(reader.fault_ahead(EOF_MAP), path)
    if not is_first:
        if found != COMMA:
            raise _in_key(reader.fault_ahead(MAP_COMMA), path)
        reader.take()
        found = reader.peek()
        if found == CLOSE_MAP:
            raise _in_key(reader.fault_ahead(TRAILING_COMMA), path)
        if found == END:
            raise _in_key(reader.fault_ahead(EOF_VALUE), path)
    if found != QUOTE:
        raise _in_key(reader.fault_ahead(KEY), path)
    return True


def _read_key(reader: JsonReader, path: str) -> str:
    try:
        return reader.string()
    except Fault as fault:
        raise _in_key(fault, path) from None


def _in_key(fault: Fault, path: str) -> Fault:
    """Set the path of a fault within a key, before the key is known; in the outermost object, serde gives no path."""
    fault.path = key_path(path, "?") if path else ""
    return fault
