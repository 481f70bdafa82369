"""Bodies of so many tiny items that to parse them would hold up everybody else, told by counting bytes.

Parsed, two megabytes of text take a millisecond, and two megabytes of ``[[]]`` a fifth of a second and 200 MB. What
counts is not the length but the number of lists, strings and numbers: so it is known before any of them is made.
"""

from typing import Final

# Each of these takes about 10 ms to parse at most, but for the numbers: 2,000,000 ids take 80 ms. They are 4096 texts
# of 500 tokens, which clients do send.
_LISTS: Final = 32_768  # of two bytes each, see `SMALL_BYTES`
_STRINGS: Final = 131_072
_NUMBERS: Final = 2_000_000
# The fewest bytes that an item takes with the comma behind it.
_STRING_BYTES: Final = 3
_NUMBER_BYTES: Final = 2

SMALL_BYTES: Final = 65_536
"""A body below this has no excess, whatever is in it."""


def find_excess(body: bytes, texts: int = 0) -> str:
    """What a body has too many of to be parsed, in words; empty if nothing.

    Args:
        body: JSON, perhaps.
        texts: the most that a request may have, each a list or a pair of strings.
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
    """Lists and objects, strings, and commas of a JSON text, those within strings not counted.

    Args:
        body: JSON; of what is none the numbers mean nothing.
        strings: with more of them nothing else is counted.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    found = body.count(b'"') // 2
    if found > strings:
        return 0, found, 0
    bare = b"".join(body.split(b'"')[::2])
    return bare.count(b"[") + bare.count(b"{"), found, bare.count(b",")
