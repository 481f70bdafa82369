"""Replies to ``/v1/embeddings``: the vectors of the parts of a request in one list, their usage summed.

Shape: OpenAI's API reference, its fields in the order in which TEI 1.9 writes them (router/src/http/types.rs).
"""

from binascii import Error, a2b_base64
from collections.abc import Sequence

import orjson

from embedfleet.dialects.body import Json
from embedfleet.dialects.splitting.answers import Answers, Part, is_vector, parse, unfit

_OPENING = b'{"object":"list","data":[{"object":"embedding","embedding":'
_BETWEEN = b',{"object":"embedding","embedding":'
_CLOSING = b'],"model":'
_QUOTE = ord('"')

_Span = tuple[int, int]
"""Where a vector starts and ends in a reply, its brackets or quotes included."""


class Embeddings(Answers):
    """``{"object", "data": [{"object", "embedding", "index"}], "model", "usage"}``, float or base64.

    Of a vector in base64 only the first number is looked at: where one number of a vector is NaN, its length is, and so
    is every number of the normalised vector, and this route always normalises.
    """

    __slots__ = ()

    def check(self, count: int, reply: bytes) -> None:
        """See `Answers`."""
        spans = _cut(reply)
        if spans is None or len(spans) != count or not _is_whole(reply, spans[-1][1]):
            _parse(count, reply)

    def join(self, parts: Sequence[Part]) -> bytes:
        """See `Answers`; what is neither vector nor usage is that of the reply with the request's first text."""
        spans = [_cut(reply) for _, reply in parts]
        if any(found is None or len(found) != len(items) for found, (items, _) in zip(spans, parts, strict=True)):
            return _join_parsed(parts)
        rows: list[Sequence[bytes | memoryview]] = [()] * sum(len(items) for items, _ in parts)
        for found, (items, reply) in zip(spans, parts, strict=True):
            view = memoryview(reply)
            for item, (start, end) in zip(items, found or (), strict=True):
                rows[item] = (view[start:end], b',"index":%d}' % item, _BETWEEN)
        tails = [_tail(reply, found[-1][1]) for found, (_, reply) in zip(spans, parts, strict=True) if found]
        tail = _summed(tails, _first(parts))
        pieces = [piece for row in rows for piece in row]
        return b"".join([_OPENING, *pieces[:-1], b"],", orjson.dumps(tail)[1:]])


def _cut(reply: bytes) -> list[_Span] | None:
    """The vectors of a compact reply, or None if it is not compact, not whole, or has a null."""
    if not reply.startswith(_OPENING):
        return None
    spans: list[_Span] = []
    at, find, startswith = len(_OPENING), reply.find, reply.startswith
    while True:
        is_base64 = reply[at : at + 1] == b'"'
        end = find(b'"' if is_base64 else b"]", at + 1) + 1
        if end - at < 3 or not (_is_finite(reply, at + 1) if is_base64 else reply[at : at + 1] == b"["):
            return None
        spans.append((at, end))
        field = b',"index":%d}' % (len(spans) - 1)
        if not startswith(field, end):
            return None
        end += len(field)
        if not startswith(_BETWEEN, end):
            break
        at = end + len(_BETWEEN)
    if not startswith(_CLOSING, end) or not (is_base64 or _has_numbers(reply, end)):
        return None
    return spans


def _has_numbers(reply: bytes, end: int) -> bool:
    """Whether there is no null and no NaN up to ``end``: the names of the fields have no ``u`` and no ``N``."""
    start = len(_OPENING)
    return reply.find(b"u", start, end) < 0 and reply.find(b"N", start, end) < 0


def _is_finite(reply: bytes, start: int) -> bool:
    """Whether the first little-endian float32 of a vector in base64 has an exponent whose bits are not all set."""
    try:
        value = a2b_base64(reply[start : start + 8])
    except Error:
        return False
    return len(value) >= 4 and not (value[3] & 0x7F == 0x7F and value[2] & 0x80)


def _is_whole(reply: bytes, end: int) -> bool:
    """Whether what follows the last vector can be read."""
    _tail(reply, end)
    return True


def _tail(reply: bytes, end: int) -> dict[str, Json]:
    """The fields after the list of vectors, of which the last ends at ``end``.

    Raises:
        Malformed: they are cut off.
    """
    tail: dict[str, Json] = parse(b"{" + reply[reply.index(_CLOSING, end) + 2 :])
    return tail


def _first(parts: Sequence[Part]) -> int:
    """Which part has the request's first text."""
    return min(range(len(parts)), key=lambda number: min(parts[number][0], default=0))


def _summed(replies: list[dict[str, Json]], first: int) -> dict[str, Json]:
    """The first part's fields, its usage with the counts of all parts summed; what is no count stays as it is."""
    usages: list[Json] = [reply.get("usage") for reply in replies]
    if not all(isinstance(usage, dict) for usage in usages):
        return replies[first]
    usage = dict(usages[first])
    for name in usage:
        counts = [other.get(name) for other in usages]
        if all(type(count) is int for count in counts):
            usage[name] = sum(counts)
    return {**replies[first], "usage": usage}


def _join_parsed(parts: Sequence[Part]) -> bytes:
    replies = [_parse(len(items), reply) for items, reply in parts]
    rows: list[Json] = [None] * sum(len(items) for items, _ in parts)
    for (items, _), reply in zip(parts, replies, strict=True):
        for row in reply["data"]:
            item = items[row["index"]]
            rows[item] = {**row, "index": item}
    return orjson.dumps({**_summed(replies, _first(parts)), "data": rows})


def _parse(count: int, reply: bytes) -> dict[str, Json]:
    """A reply of any spelling.

    Raises:
        Malformed: it does not have a vector for each of ``count`` texts.
    """
    value = parse(reply)
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, list) or len(data) != count or not all(isinstance(row, dict) for row in data):
        raise unfit(count, reply)
    if {_index(row) for row in data} != set(range(count)) or not all(
        _is_embedding(row.get("embedding")) for row in data
    ):
        raise unfit(count, reply)
    whole: dict[str, Json] = value
    return whole


def _index(row: dict[str, Json]) -> int:
    index = row.get("index")
    return index if type(index) is int else -1


def _is_embedding(value: Json) -> bool:
    if isinstance(value, str):
        return _is_finite(value.encode(), 0)
    return is_vector(value)


EMBEDDINGS = Embeddings()
