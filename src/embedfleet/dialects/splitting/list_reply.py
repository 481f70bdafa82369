"""Joining of replies that are a list with one answer per text, and the reply to a single text."""

from collections.abc import Callable, Sequence

import orjson
from typing_extensions import override

from embedfleet.dialects.json_body import Json
from embedfleet.dialects.splitting.reply import (
    PartReply,
    ReplyShape,
    is_number,
    is_vector,
    mismatch,
    parse,
)
from embedfleet.dialects.splitting.row_ends import (
    matrix_ends,
    number_ends,
    prediction_ends,
    sparse_ends,
    vector_ends,
    weight_ends,
)


class ListReply(ReplyShape):
    """A list with one answer per text, in the order of the texts.

    Args:
        find_ends: Function of `row_ends` that finds the ends of the answers in a compact reply.
        is_answer: Function that tells whether a parsed answer is complete.
        is_per_token: Whether the size of an answer grows with the tokens of its text.
    """

    __slots__ = ("_find_ends", "_is_answer")

    def __init__(
        self,
        find_ends: Callable[[bytes], list[int] | None],
        is_answer: Callable[[Json], bool],
        *,
        is_per_token: bool = False,
    ) -> None:
        super().__init__(is_per_token=is_per_token)
        self._find_ends = find_ends
        self._is_answer = is_answer

    @override
    def check(self, count: int, reply: bytes) -> None:
        ends = self._find_ends(reply)
        if ends is None or len(ends) != count:
            self._parse(count, reply)

    def split(self, count: int, reply: bytes) -> Sequence[bytes | memoryview]:
        """Split a reply into the answers to ``count`` texts, each as its bytes in the list.

        Raises:
            Malformed: The reply would fail `check`.
        """
        ends = self._find_ends(reply)
        if ends is None or len(ends) != count:
            return list(map(orjson.dumps, self._parse(count, reply)))
        view = memoryview(reply)
        return [view[start:end] for start, end in zip((1, *(end + 1 for end in ends)), ends, strict=False)]

    @override
    def separate(self, reply: bytes, costs: Sequence[int]) -> list[bytes]:
        return [b"".join((b"[", row, b"]")) for row in self.split(len(costs), reply)]

    @override
    def join(self, parts: Sequence[PartReply]) -> bytes:
        ordered = sorted(parts, key=_first_text)
        found = [self._find_ends(reply) for _, reply in ordered]
        if any(ends is None or len(ends) != len(items) for ends, (items, _) in zip(found, ordered, strict=True)):
            return self._join_parsed(parts)
        views = [memoryview(reply)[1:-1] for _, reply in ordered]
        if _is_in_order(ordered):
            return _join_rows(views)
        rows = [views[0]] * sum(len(items) for items, _ in ordered)
        for ends, (items, _), view in zip(found, ordered, views, strict=True):
            start = 0
            for item, end in zip(items, ends or (), strict=True):
                rows[item] = view[start : end - 1]
                start = end
        return _join_rows(rows)

    def _join_parsed(self, parts: Sequence[PartReply]) -> bytes:
        rows: list[Json] = [None] * sum(len(items) for items, _ in parts)
        for items, reply in parts:
            for item, row in zip(items, self._parse(len(items), reply), strict=True):
                rows[item] = row
        return orjson.dumps(rows)

    def _parse(self, count: int, reply: bytes) -> list[Json]:
        value = parse(reply)
        if not isinstance(value, list) or len(value) != count or not all(map(self._is_answer, value)):
            raise mismatch(count, reply)
        return value


class SingleReply(ReplyShape):
    """The reply to a request with one text outside of a list, so that there is nothing to join.

    Args:
        is_answer: Function that tells whether a parsed reply is complete.
    """

    __slots__ = ("_is_answer",)

    def __init__(self, is_answer: Callable[[Json], bool]) -> None:
        super().__init__()
        self._is_answer = is_answer

    @override
    def check(self, count: int, reply: bytes) -> None:
        if not self._is_answer(parse(reply)):
            raise mismatch(count, reply)

    @override
    def separate(self, reply: bytes, costs: Sequence[int]) -> list[bytes]:
        return [reply]

    @override
    def join(self, parts: Sequence[PartReply]) -> bytes:
        ((_, reply),) = parts
        self.check(1, reply)
        return reply


def _join_rows(rows: Sequence[memoryview]) -> bytes:
    """Write rows as one JSON list, copying each once, because a copy costs more than the search for brackets."""
    pieces: list[bytes | memoryview] = [b","] * (2 * len(rows) + 1)
    pieces[0], pieces[-1] = b"[", b"]"
    pieces[1::2] = rows
    return b"".join(pieces)


def _is_in_order(ordered: Sequence[PartReply]) -> bool:
    """Whether parts, sorted by their first text, contain the texts in the order of the request."""
    end = 0
    for items, _ in ordered:
        start, end = end, end + len(items)
        if list(items) != list(range(start, end)):
            return False
    return True


def _first_text(part: PartReply) -> int:
    return part[0][0] if part[0] else 0


def _is_matrix(value: Json) -> bool:
    return isinstance(value, list) and all(map(is_vector, value))


def _is_sparse(value: Json) -> bool:
    return isinstance(value, list) and all(_has(row, "value") and _has(row, "index") for row in value)


def _is_prediction(value: Json) -> bool:
    """Whether a JSON value is a list of classes with their scores."""
    return isinstance(value, list) and bool(value) and all(_has(row, "score") for row in value)


def _is_weights(value: Json) -> bool:
    return isinstance(value, dict) and all(map(is_number, value.values()))


def _has(row: Json, name: str) -> bool:
    return isinstance(row, dict) and is_number(row.get(name))


VECTORS = ListReply(vector_ends, is_vector)
MATRICES = ListReply(matrix_ends, _is_matrix, is_per_token=True)
SPARSE = ListReply(sparse_ends, _is_sparse, is_per_token=True)
WEIGHTS = ListReply(weight_ends, _is_weights, is_per_token=True)
NUMBERS = ListReply(number_ends, is_number)
PREDICTIONS = ListReply(prediction_ends, _is_prediction)
PREDICTION = SingleReply(_is_prediction)
