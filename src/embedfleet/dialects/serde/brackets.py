"""Reads lists and objects in the order of serde_json, with the paths that serde_path_to_error puts into messages."""

from collections.abc import Callable
from functools import partial
from typing import Any

from embedfleet.dialects.serde.reader import (
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
    Reader,
)


def key_path(path: str, key: str) -> str:
    """The path of a key's value, given the path of its object."""
    return f"{path}.{key}" if path else key


def read_list(reader: Reader, path: str, read_item: Callable[[int], Any]) -> list[Any]:
    """Read a list whose bracket is next; ``read_item`` reads the item of an index."""
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


def has_item(reader: Reader, *, is_first: bool) -> bool:
    """Whether a list has another item; its comma is read."""
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


def end_list(reader: Reader) -> None:
    """Read a list's closing bracket.

    Raises:
        Fault: there is something else.
    """
    found = reader.peek()
    if found == CLOSE_LIST:
        reader.take()
        return
    if found == COMMA:
        reader.take()
        raise reader.fault_ahead(TRAILING_COMMA if reader.peek() == CLOSE_LIST else TRAILING)
    raise reader.fault_ahead(EOF_LIST if found == END else TRAILING)


def seek_end_of_list(reader: Reader, fault: Fault, path: str) -> None:
    """The library looks for the end even of a list that it refuses: so a place that is not known yet is behind that."""
    if fault.path is None:
        fault.path = path
    if reader.peek() in (CLOSE_LIST, COMMA):
        reader.take()
        reader.peek()


def read_map(
    reader: Reader,
    path: str,
    keep: Callable[[str], None],
    check_key: Callable[[str], None] | None = None,
    check: Callable[[], None] | None = None,
) -> None:
    """Read an object: ``check_key`` sees a key, ``keep`` takes its value, ``check`` sees whether all is there."""
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


def _read_value(reader: Reader, path: str, take: Callable[[], None]) -> None:
    try:
        reader.colon()
        take()
    except Fault as fault:
        if fault.path is None:
            fault.path = path
        raise


def seek_end_of_map(reader: Reader) -> None:
    """As `seek_end_of_list`, for an object."""
    if reader.peek() == CLOSE_MAP:
        reader.take()


def _has_key(reader: Reader, path: str, *, is_first: bool) -> bool:
    found = reader.peek()
    if found == CLOSE_MAP:
        return False
    if found == END:
        raise _of_key(reader.fault_ahead(EOF_MAP), path)
    if not is_first:
        if found != COMMA:
            raise _of_key(reader.fault_ahead(MAP_COMMA), path)
        reader.take()
        found = reader.peek()
        if found == CLOSE_MAP:
            raise _of_key(reader.fault_ahead(TRAILING_COMMA), path)
        if found == END:
            raise _of_key(reader.fault_ahead(EOF_VALUE), path)
    if found != QUOTE:
        raise _of_key(reader.fault_ahead(KEY), path)
    return True


def _read_key(reader: Reader, path: str) -> str:
    try:
        return reader.string()
    except Fault as fault:
        raise _of_key(fault, path) from None


def _of_key(fault: Fault, path: str) -> Fault:
    """A fault of a key: what the key is, nobody knows yet. One of the outermost object is said without a path."""
    fault.path = key_path(path, "?") if path else ""
    return fault
