"""Replies to parts of a request, joined as bytes to the reply that one replica would have given.

A vector of 1024 numbers is 12 KB of JSON: to parse and to write it again costs more than all else that the gateway
does with it. So replies in compact JSON, as serde_json and orjson write it, are cut where their brackets are and put
together again; the numbers stay the bytes that the replica wrote. What is written otherwise (with spaces, with fields
in another order) is parsed.

Shapes: TEI 1.9 (router/src/http/types.rs).
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence

import orjson

from embedfleet.dialects.body import Json
from embedfleet.errors import Malformed

Part = tuple[Sequence[int], bytes]
"""Which texts of a request a replica was sent, in its order, and what it answered."""

_CLOSING = ord("]")
# Of a number; only the first one of a reply is looked at.
_BEGINNINGS = frozenset(b"%c" % byte for byte in b"-0123456789")
_LONGEST_QUOTE = 80


class Answers(metaclass=ABCMeta):
    """The shape of a successful reply: one answer for each text."""

    __slots__ = ()

    @abstractmethod
    def check(self, count: int, reply: bytes) -> None:
        """See that a reply holds a whole answer to each of ``count`` texts.

        Raises:
            Malformed: another number of answers, a part of one, or a null or NaN in place of a number.
        """

    @abstractmethod
    def join(self, parts: Sequence[Part]) -> bytes:
        """The reply to the whole request, whose texts all are in exactly one of ``parts``.

        Raises:
            Malformed: as for `check`.
        """


class Listing(Answers):
    """A list with one answer a text, in the texts' order.

    Args:
        cut: where the answers of a compact reply end (the first starts at 1, each other one after a comma); None if it
            is not compact, or not whole.
        is_answer: whether a parsed answer is whole.
    """

    __slots__ = ("_cut", "_is_answer")

    def __init__(self, cut: Callable[[bytes], list[int] | None], is_answer: Callable[[Json], bool]) -> None:
        self._cut = cut
        self._is_answer = is_answer

    def check(self, count: int, reply: bytes) -> None:
        """See `Answers`."""
        ends = self._cut(reply)
        if ends is None or len(ends) != count:
            self._parse(count, reply)

    def split(self, count: int, reply: bytes) -> Sequence[bytes | memoryview]:
        """The answers to ``count`` texts as they stand in the reply's list.

        Raises:
            Malformed: as for `check`.
        """
        ends = self._cut(reply)
        if ends is None or len(ends) != count:
            return list(map(orjson.dumps, self._parse(count, reply)))
        view = memoryview(reply)
        return [view[start:end] for start, end in zip((1, *(end + 1 for end in ends)), ends, strict=False)]

    def join(self, parts: Sequence[Part]) -> bytes:
        """See `Answers`."""
        ordered = sorted(parts, key=_first)
        cuts = [self._cut(reply) for _, reply in ordered]
        if any(ends is None or len(ends) != len(items) for ends, (items, _) in zip(cuts, ordered, strict=True)):
            return self._join_parsed(parts)
        views = [memoryview(reply)[1:-1] for _, reply in ordered]
        if in_order(ordered):
            return enclosed(views)
        rows = [views[0]] * sum(len(items) for items, _ in ordered)
        for ends, (items, _), view in zip(cuts, ordered, views, strict=True):
            start = 0
            for item, end in zip(items, ends or (), strict=True):
                rows[item] = view[start : end - 1]
                start = end
        return enclosed(rows)

    def _join_parsed(self, parts: Sequence[Part]) -> bytes:
        rows: list[Json] = [None] * sum(len(items) for items, _ in parts)
        for items, reply in parts:
            for item, row in zip(items, self._parse(len(items), reply), strict=True):
                rows[item] = row
        return orjson.dumps(rows)

    def _parse(self, count: int, reply: bytes) -> list[Json]:
        value = parse(reply)
        if not isinstance(value, list) or len(value) != count or not all(map(self._is_answer, value)):
            raise unfit(count, reply)
        return value


class Single(Answers):
    """The answer to a request for one text that is not in a list; there is nothing to join.

    Args:
        is_answer: whether it is whole.
    """

    __slots__ = ("_is_answer",)

    def __init__(self, is_answer: Callable[[Json], bool]) -> None:
        self._is_answer = is_answer

    def check(self, count: int, reply: bytes) -> None:
        """See `Answers`."""
        if not self._is_answer(parse(reply)):
            raise unfit(count, reply)

    def join(self, parts: Sequence[Part]) -> bytes:
        """The one reply."""
        ((_, reply),) = parts
        self.check(1, reply)
        return reply


def parse(reply: bytes) -> Json:
    """A reply's JSON.

    Raises:
        Malformed: it is none; NaN is none either.
    """
    try:
        return orjson.loads(reply)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"a reply of {len(reply)} bytes is not JSON: {error}") from None


def unfit(count: int, reply: bytes) -> Malformed:
    """The error for a reply that does not answer so many texts."""
    begins = reply[:_LONGEST_QUOTE].decode("utf-8", "replace")
    return Malformed(f"a reply of {len(reply)} bytes is no answer to {count} texts: {begins}")


def enclosed(rows: Sequence[memoryview]) -> bytes:
    """Rows as a JSON list, copied once: at these sizes memory costs more than the search for brackets."""
    pieces: list[bytes | memoryview] = [b","] * (2 * len(rows) + 1)
    pieces[0], pieces[-1] = b"[", b"]"
    pieces[1::2] = rows
    return b"".join(pieces)


def in_order(ordered: Sequence[Part]) -> bool:
    """Whether parts, sorted by their first text, hold the texts just in the order of the request."""
    end = 0
    for items, _ in ordered:
        start, end = end, end + len(items)
        if list(items) != list(range(start, end)):
            return False
    return True


def _first(part: Part) -> int:
    return part[0][0] if part[0] else 0


def cut_vectors(reply: bytes) -> list[int] | None:
    """Ends of ``[[f32]]``: numbers have no ``n``, which null has, and no ``N``, which NaN has."""
    if b"n" in reply or b"N" in reply or reply[2:3] not in _BEGINNINGS:
        return None
    return _cut_rows(reply, 2)


def cut_sparse(reply: bytes) -> list[int] | None:
    """Ends of ``[[{"index", "value"}]]``; a text that has no terms has ``[]``."""
    if b"null" in reply or b"N" in reply or not reply.startswith((b'[[{"index":', b"[[]")):
        return None
    return _cut_rows(reply, 1)


def _cut_rows(reply: bytes, least: int) -> list[int] | None:
    """Ends of lists in a list, which hold no brackets; ``least`` is the distance of a row's brackets.

    `bytes.find` for one byte is many times faster than `bytes.count` and `bytes.split`.
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


def cut_matrices(reply: bytes) -> list[int] | None:
    """Ends of ``[[[f32]]]``."""
    if b"n" in reply or b"N" in reply or reply[3:4] not in _BEGINNINGS:
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


def cut_numbers(reply: bytes) -> list[int] | None:
    """Ends of ``[f32]``."""
    if b"n" in reply or b"N" in reply or reply[1:2] not in _BEGINNINGS:
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


def cut_predictions(reply: bytes) -> list[int] | None:
    """Ends of ``[[{"score", "label"}]]``.

    Labels are texts, and may hold brackets. But no text holds a quote that is not escaped, so what is looked for here,
    a quote between a brace and a letter, is found only between answers.
    """
    if not reply.startswith(b'[[{"score":') or not reply.endswith(b'"}]]'):
        return None
    if reply.endswith(b'\\"}]]'):  # in the middle of a label, perhaps
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


def is_number(value: Json) -> bool:
    """Whether a JSON value is a number."""
    return type(value) is float or type(value) is int


def is_vector(value: Json) -> bool:
    """Whether a JSON value is a list of numbers, at least one."""
    return isinstance(value, list) and bool(value) and all(map(is_number, value))


def is_prediction(value: Json) -> bool:
    """Whether a JSON value is a list of classes with their scores."""
    return isinstance(value, list) and bool(value) and all(_has(row, "score") for row in value)


def _is_matrix(value: Json) -> bool:
    return isinstance(value, list) and all(map(is_vector, value))


def _is_sparse(value: Json) -> bool:
    return isinstance(value, list) and all(_has(row, "value") and _has(row, "index") for row in value)


def _has(row: Json, name: str) -> bool:
    return isinstance(row, dict) and is_number(row.get(name))


VECTORS = Listing(cut_vectors, is_vector)
MATRICES = Listing(cut_matrices, _is_matrix)
SPARSE = Listing(cut_sparse, _is_sparse)
NUMBERS = Listing(cut_numbers, is_number)
PREDICTIONS = Listing(cut_predictions, is_prediction)
PREDICTION = Single(is_prediction)
