"""Limits on the number of items in a body, checked by counting bytes before the body is parsed.

Two megabytes of text are parsed in a millisecond; two megabytes of ``[[]]`` take a fifth of a second (``python -m
timeit`` of `orjson.loads`) and much memory, and delay every other client. The cost depends on the number of lists,
strings and numbers, not on the length.
"""

from typing import Final

# Parsing this many lists or strings takes at most about 10 ms, and 2,000,000 numbers about 80 ms (`python -m timeit` of
# `orjson.loads`). So many numbers are allowed, because clients do send the ids of 4096 texts of 500 tokens.
_LISTS: Final = 32_768  # each has at least two bytes, hence `SMALL_BYTES`
_STRINGS: Final = 131_072
_NUMBERS: Final = 2_000_000
# Fewest bytes of an item with its comma.
_STRING_BYTES: Final = 3
_NUMBER_BYTES: Final = 2

SMALL_BYTES: Final = 65_536
"""Size in bytes below which any body is within the limits."""


def find_excess(body: bytes, texts: int = 0) -> str:
    """Name the limit that a body exceeds, such as ``32768 lists and objects``; empty if it exceeds none.

    Args:
        body: Body, which may be invalid JSON.
        texts: Maximum number of texts in a request; each may be a list or a pair of strings.
    """
    size = len(body)
    if size < SMALL_BYTES:
        return ""
    lists, strings = max(_LISTS, 2 * texts), max(_STRINGS, 4 * texts)
    if (
        body.count(b"[") + body.count(b"{") <= lists
        and (size < _STRING_BYTES * strings or body.count(b'"') <= 2 * strings)
        and (size < _NUMBER_BYTES * _NUMBERS or body.count(b",") <= _NUMBERS)
    ):
        return ""
    found = count_items(body, strings)
    allowed = ((lists, "lists and objects"), (strings, "strings"), (_NUMBERS, "values"))
    over = [f"{most} {name}" for count, (most, name) in zip(found, allowed, strict=True) if count > most]
    return over[0] if over else ""


def count_items(body: bytes, strings: int) -> tuple[int, int, int]:
    """Count the lists and objects, the strings, and the commas of a JSON text, outside of strings.

    Args:
        body: Body; the numbers are meaningless if it is not JSON.
        strings: Number of strings above which nothing else is counted.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    found = body.count(b'"') // 2
    if found > strings:
        return 0, found, 0
    bare = b"".join(body.split(b'"')[::2])
    return bare.count(b"[") + bare.count(b"{"), found, bare.count(b",")
