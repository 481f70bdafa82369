"""Replies to several texts as bytes: counted, taken apart and put together without reading a number.

TEI's serde_json and our orjson write JSON without spaces and fields in one order, so an answer ends where certain bytes
are. A reply that looks different is read as JSON, and written again.
"""

from abc import ABC, abstractmethod
from binascii import a2b_base64
from collections.abc import Sequence
from math import isfinite
from struct import unpack
from typing import Any

import orjson

from embedfleet.errors import Malformed

_VECTORS = 2
_BETWEEN_VECTORS = len(b"],")
_EMPTY = frozenset({b"[]", b"[[]]", b"[[[]]]"})

Part = tuple[Sequence[int], bytes]
"""Which texts were asked for, as indices of the whole request's, and the reply."""


class Shape(ABC):
    """How replies of some path look."""

    @abstractmethod
    def check(self, reply: bytes, count: int) -> None:
        """Make sure that a reply answers ``count`` texts.

        Raises:
            Malformed: another number of answers, a null, or something else altogether.
        """

    @abstractmethod
    def join(self, parts: Sequence[Part], count: int) -> bytes:
        """The reply to ``count`` texts, made of those to parts of them.

        Raises:
            Malformed: they do not answer each text once.
        """

    def split(self, reply: bytes, count: int) -> list[bytes]:
        """The reply to ``count`` texts as replies to each alone.

        Raises:
            Malformed: another number of answers, a null, or something else altogether.
        """
        raise NotImplementedError


class Rows(Shape):
    """Lists in a list, one for each text: ``[[0.1,0.2],[0.3,0.4]]``.

    Args:
        depth: how many lists are around each number, or object.
        numbers: whether there are only numbers within, and at least one; else objects, and maybe none.
    """

    def __init__(self, depth: int, *, numbers: bool = True) -> None:
        self._depth = depth
        self._numbers = numbers
        inner = depth - 1
        self._start, self._between, self._end = b"[" * depth, b"]" * inner + b"," + b"[" * inner, b"]" * depth

    def check(self, reply: bytes, count: int) -> None:
        """See `Shape`."""
        if not self._is_plain(reply) or not self._holds(reply, count):
            self._read(reply, count)
        self._check_numbers(reply)

    def _check_numbers(self, reply: bytes) -> None:
        if (b"n" in reply if self._numbers else b"null" in reply) or reply in _EMPTY:
            raise Malformed(f"an answer that holds no numbers: {_excerpt(reply)}")

    def _holds(self, reply: bytes, count: int) -> bool:
        """Whether a plain reply has so many answers; a single byte is found ten times as fast as several."""
        if self._depth != _VECTORS:
            return reply.count(self._between) + 1 == count
        return reply.find(b"[", _VECTORS) < 0 if count == 1 else reply.count(b"[") == count + 1

    def join(self, parts: Sequence[Part], count: int) -> bytes:
        """See `Shape`."""
        ordered = sorted(parts, key=lambda part: part[0][0])
        if all(_is_run(items) and self._is_plain(reply) for items, reply in ordered):
            inner = [reply[self._depth : -self._depth] for _, reply in ordered]
        else:
            inner = place([(items, self._split(reply, len(items))) for items, reply in parts], count)
        return b"%b%b%b" % (self._start, self._between.join(inner), self._end)

    def split(self, reply: bytes, count: int) -> list[bytes]:
        """See `Shape`."""
        self._check_numbers(reply)
        return [b"%b%b%b" % (self._start, inner, self._end) for inner in self._split(reply, count)]

    def _is_plain(self, reply: bytes) -> bool:
        return reply.startswith(self._start) and reply.endswith(self._end)

    def _split(self, reply: bytes, count: int) -> list[bytes]:
        """The inside of each text's answer."""
        if self._is_plain(reply):
            inside = reply[self._depth : -self._depth]
            if self._depth == _VECTORS and self._numbers:  # each but the last with what is between it and the next
                *rows, last = inside.split(b"[")
                rows = [*(row[:-_BETWEEN_VECTORS] for row in rows), last]
            else:
                rows = inside.split(self._between)
            if len(rows) == count:
                return rows
        inner = self._depth - 1
        return [orjson.dumps(row)[inner : -inner or None] for row in self._read(reply, count)]

    def _read(self, reply: bytes, count: int) -> list[Any]:
        rows = _read_list(reply, count)
        for row in rows:
            if isinstance(row, list) != (self._depth > 1):
                raise Malformed(f"not a list for each text: {_excerpt(reply)}")
        return rows


class Ranking(Shape):
    """Objects with an ``index`` and a ``score``, the best first.

    TEI sorts by score, and of equal scores the higher index is first (a stable ascending sort, reversed). Reading and
    writing a score gives the same digits: those of a float32 are at most nine, which a double keeps.
    """

    def check(self, reply: bytes, count: int) -> None:
        """See `Shape`."""
        self._read(reply, count)

    def join(self, parts: Sequence[Part], count: int) -> bytes:
        """See `Shape`."""
        ranks = []
        for items, reply in parts:
            for rank in self._read(reply, len(items)):
                rank["index"] = items[rank["index"]]
                ranks.append(rank)
        if sorted(rank["index"] for rank in ranks) != list(range(count)):
            raise Malformed("not one score for each text")
        ranks.sort(key=lambda rank: (rank["score"], rank["index"]), reverse=True)
        return orjson.dumps(ranks)

    def _read(self, reply: bytes, count: int) -> list[dict[str, Any]]:
        ranks = _read_list(reply, count)
        seen = set()
        for rank in ranks:
            if not isinstance(rank, dict) or not isinstance(rank.get("score"), int | float):
                raise Malformed(f"not a score for each text: {_excerpt(reply)}")
            seen.add(rank.get("index"))
        if seen != set(range(count)):
            raise Malformed(f"not one score for each of {count} texts: {_excerpt(reply)}")
        return ranks


class Predictions(Shape):
    """A list of labels with scores for each text.

    Args:
        batch: whether these are in a list; the answer to a single text is not.
    """

    def __init__(self, *, batch: bool) -> None:
        self._batch = batch

    def check(self, reply: bytes, count: int) -> None:
        """See `Shape`."""
        self._read(reply, count)

    def join(self, parts: Sequence[Part], count: int) -> bytes:
        """See `Shape`."""
        rows = place([(items, self._read(reply, len(items))) for items, reply in parts], count)
        return orjson.dumps(rows)

    def _read(self, reply: bytes, count: int) -> list[Any]:
        rows = _read_list(reply, count) if self._batch else [_loads(reply)]
        for row in rows:
            good = isinstance(row, list) and all(
                isinstance(item, dict) and isinstance(item.get("score"), int | float) for item in row
            )
            if not good or not row:
                raise Malformed(f"not a score for each label: {_excerpt(reply)}")
        return rows


class Embeddings(Shape):
    """OpenAI's: objects with an ``embedding`` and an ``index`` in ``data``; then ``model`` and ``usage``."""

    _ITEM = b'{"object":"embedding","embedding":'
    _START = b'{"object":"list","data":[' + _ITEM
    _BETWEEN = b"}," + _ITEM
    _INDEX = b',"index":'
    _END = b'}],"model":'

    def check(self, reply: bytes, count: int) -> None:
        """See `Shape`."""
        end = self._end(reply)
        if end >= 0 and count == 1 and reply.find(self._BETWEEN, 0, end) < 0:
            vectors = [reply[len(self._START) : end]]
        else:
            vectors, _ = self._read(reply, count)
        for vector in vectors:
            if not _is_vector(vector):
                raise Malformed(f"an embedding that holds no numbers: {_excerpt(vector)}")

    def join(self, parts: Sequence[Part], count: int) -> bytes:
        """See `Shape`."""
        read = [(items, *self._read(reply, len(items))) for items, reply in parts]
        vectors = place([(items, vectors) for items, vectors, _ in read], count)
        rest = dict(read[0][2])
        rest["usage"] = {
            name: sum(_count(other, name) for _, _, other in read) for name in ("prompt_tokens", "total_tokens")
        }
        data = b",".join(
            b"%b%b%b%d}" % (self._ITEM, vector, self._INDEX, index) for index, vector in enumerate(vectors)
        )
        return b'{"object":"list","data":[%b],%b' % (data, orjson.dumps(rest)[1:])

    def _end(self, reply: bytes) -> int:
        """Where a plain reply's last item ends, -1 if it is not plain."""
        return reply.rfind(self._END) if reply.startswith(self._START) else -1

    def _read(self, reply: bytes, count: int) -> tuple[list[bytes], dict[str, Any]]:
        """The vectors as they are written, by index, and what follows them."""
        end = self._end(reply)
        if end < 0:
            return self._read_any(reply, count)
        vectors: list[bytes] = []
        for number, item in enumerate(reply[len(self._START) : end].split(self._BETWEEN)):
            vector, _, index = item.rpartition(self._INDEX)
            if index != b"%d" % number:
                return self._read_any(reply, count)
            vectors.append(vector)
        if len(vectors) != count:
            raise Malformed(f"{len(vectors)} answers to {count} texts")
        return vectors, _object(_loads(b"{" + reply[end + len(b"}],") :]))

    def _read_any(self, reply: bytes, count: int) -> tuple[list[bytes], dict[str, Any]]:
        rest = _object(_loads(reply))
        items = rest.pop("data", None)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise Malformed(f"no list of data: {_excerpt(reply)}")
        by_index = {item.get("index"): item.get("embedding") for item in items}
        if len(items) != count or set(by_index) != set(range(count)):
            raise Malformed(f"{len(items)} answers to {count} texts")
        rest.pop("object", None)
        return [orjson.dumps(by_index[index]) for index in range(count)], rest


def place(parts: Sequence[tuple[Sequence[int], Sequence[Any]]], count: int) -> list[Any]:
    """What belongs to some indices each, in the order of all.

    Raises:
        Malformed: an index has nothing, or two.
    """
    placed: dict[int, Any] = {}
    for items, rows in parts:
        placed.update(zip(items, rows, strict=True))
    if len(placed) != count or sum(len(items) for items, _ in parts) != count:
        raise Malformed(f"answers to {len(placed)} of {count} texts")
    return [placed[index] for index in range(count)]


def _is_run(items: Sequence[int]) -> bool:
    return list(items) == list(range(items[0], items[0] + len(items)))


def _is_vector(written: bytes) -> bool:
    """Whether it may be one; a NaN is null in JSON.

    In base64 only the first number is looked at: a NaN anywhere spreads over the whole vector when it is normalised.
    """
    if written.startswith(b'"'):
        try:
            (first,) = unpack("<f", a2b_base64(written[1:9])[:4])
        except ValueError:
            return False
        return isfinite(first)
    return written.startswith(b"[") and not written.startswith(b"[]") and b"null" not in written


def _read_list(reply: bytes, count: int) -> list[Any]:
    rows = _loads(reply)
    if not isinstance(rows, list):
        raise Malformed(f"not a list: {_excerpt(reply)}")
    if len(rows) != count:
        raise Malformed(f"{len(rows)} answers to {count} texts")
    return rows


def _loads(reply: bytes) -> Any:  # noqa: ANN401 - whatever the replica says
    try:
        return orjson.loads(reply)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error}: {_excerpt(reply)}") from None


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"not an object: {str(value)[:80]}")
    return value


def _count(rest: dict[str, Any], name: str) -> int:
    usage = rest.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else 0


def _excerpt(reply: bytes) -> str:
    return reply[:80].decode("utf-8", "replace")
