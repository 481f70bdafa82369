"""Search for the ends of the answers in a compact JSON list, by their bytes.

The first answer starts at index 1, and each later one after the comma that follows its predecessor. Every function here
returns the index after each answer, or None if the reply is not compact, is incomplete, or has a null or NaN.
"""

from typing import Final

_CLOSING = ord("]")
# Letters of null and NaN, as numbers: CPython finds a byte in bytes twice as fast as bytes in bytes, because for the
# latter it first makes a TypeError (`_Py_bytes_contains`).
_NULL: Final = ord("n")
_NAN: Final = ord("N")
# First bytes of a number; only the first number of a reply is checked.
_BEGINNINGS = frozenset(b"%c" % byte for byte in b"-0123456789")


def vector_ends(reply: bytes) -> list[int] | None:
    """Find the ends of ``[[f32]]``. An ``n`` shows a null and an ``N`` a NaN, because numbers have neither letter."""
    if _NULL in reply or _NAN in reply or reply[2:3] not in _BEGINNINGS:
        return None
    return _list_ends(reply, 2)


def sparse_ends(reply: bytes) -> list[int] | None:
    """Find the ends of ``[[{"index", "value"}]]``; a text without terms has ``[]``."""
    if b"null" in reply or _NAN in reply or not reply.startswith((b'[[{"index":', b"[[]")):
        return None
    return _list_ends(reply, 1)


def _list_ends(reply: bytes, least: int) -> list[int] | None:
    """Find the ends of inner lists that contain no brackets.

    `bytes.find` for one byte is many times faster than `bytes.count` and `bytes.split`.

    Args:
        reply: Body of the reply.
        least: Least distance between the brackets of an inner list, in bytes: 1 if it may be empty.
    """
    if not reply.startswith(b"[[") or not reply.endswith(b"]]"):
        return None
    ends: list[int] = []
    find, startswith, last = reply.find, reply.startswith, len(reply) - 2
    start, at = 1, find(b"]")
    while at - start >= least:
        ends.append(at + 1)
        if at == last:
            return ends
        if not startswith(b",[", at + 1):
            return None
        start = at + 2
        at = find(b"]", start)
    return None


def matrix_ends(reply: bytes) -> list[int] | None:
    """Find the ends of ``[[[f32]]]``."""
    if _NULL in reply or _NAN in reply or reply[3:4] not in _BEGINNINGS:
        return None
    if not reply.startswith(b"[[[") or not reply.endswith(b"]]]"):
        return None
    ends: list[int] = []
    find, startswith, last = reply.find, reply.startswith, len(reply) - 3
    at = find(b"]")
    while at < last:
        if reply[at + 1] == _CLOSING:
            if not startswith(b",[[", at + 2):
                return None
            ends.append(at + 2)
            at += 1
        at = find(b"]", at + 1)
    ends.append(last + 2)
    return ends


def number_ends(reply: bytes) -> list[int] | None:
    """Find the ends of ``[f32]``."""
    if _NULL in reply or _NAN in reply or reply[1:2] not in _BEGINNINGS:
        return None
    if not reply.startswith(b"[") or not reply.endswith(b"]"):
        return None
    ends: list[int] = []
    at = reply.find(b",")
    while at >= 0:
        ends.append(at)
        at = reply.find(b",", at + 1)
    ends.append(len(reply) - 1)
    return ends


def prediction_ends(reply: bytes) -> list[int] | None:
    """Find the ends of ``[[{"score", "label"}]]``.

    Labels may contain brackets, but every quote in a label is escaped. So the searched sequence, which has a plain
    quote between a brace and a letter, occurs only between answers.
    """
    if not reply.startswith(b'[[{"score":') or not reply.endswith(b'"}]]'):
        return None
    if reply.endswith(b'\\"}]]'):  # the reply may have been truncated within a label
        return None
    if b'"score":null' in reply or b'"score":NaN' in reply:
        return None
    ends: list[int] = []
    at = reply.find(b'}],[{"score":')
    while at >= 0:
        ends.append(at + 2)
        at = reply.find(b'}],[{"score":', at + 2)
    ends.append(len(reply) - 1)
    return ends


def weight_ends(reply: bytes) -> list[int] | None:
    """Find the ends of ``[{id: f32}]``; a text without weights has ``{}``."""
    if _NULL in reply or _NAN in reply or not reply.startswith(b"[{") or not reply.endswith(b"}]"):
        return None
    ends: list[int] = []
    at = reply.find(b"}")
    while at < len(reply) - 2:
        if not reply.startswith(b",{", at + 1):
            return None
        ends.append(at + 1)
        at = reply.find(b"}", at + 1)
    ends.append(len(reply) - 1)
    return ends
