"""Joining of replies to ``/v1/embeddings``: the vectors of all parts in one list, and the sum of their usage.

Shape: OpenAI's API reference, with the fields in the order in which TEI 1.9 writes them (router/src/http/types.rs).
"""

from binascii import Error, a2b_base64
from collections.abc import Sequence

import orjson
from typing_extensions import override

from embedfleet.dialects.json_body import Json
from embedfleet.dialects.splitting.apportioning import apportioned
from embedfleet.dialects.splitting.reply import PartReply, ReplyShape, is_vector, mismatch, parse

_OPENING = b'{"object":"list","data":[{"object":"embedding","embedding":'
_BETWEEN = b',{"object":"embedding","embedding":'
_CLOSING = b'],"model":'
_QUOTE = ord('"')

_Span = tuple[int, int]
"""Start and end of a vector in a reply, with its brackets or quotes."""


class OpenAIReply(ReplyShape):
    """``{"object", "data": [{"object", "embedding", "index"}], "model", "usage"}``, float or base64.

    Only the first number of a base64 vector is checked. This is enough, because the route always normalises: a NaN in
    the vector makes the norm and every normalised number NaN.

    The joined reply takes its other fields from the reply with the first text of the request.
    """

    __slots__ = ()

    @override
    def check(self, count: int, reply: bytes) -> None:
        spans = _find_vectors(reply)
        if spans is None or len(spans) != count or not _is_whole(reply, spans[-1][1]):
            _parse(count, reply)

    @override
    def separate(self, reply: bytes, costs: Sequence[int]) -> list[bytes]:
        if len(costs) == 1:
            return [reply]
        spans = _find_vectors(reply)
        if spans is None or len(spans) != len(costs):
            return _separate_parsed(reply, costs)
        tails = _apportioned(_tail(reply, spans[-1][1]), costs)
        return [
            b"".join((_OPENING, reply[start:end], b',"index":0}],', orjson.dumps(tail)[1:]))
            for (start, end), tail in zip(spans, tails, strict=True)
        ]

    @override
    def join(self, parts: Sequence[PartReply]) -> bytes:
        spans = [_find_vectors(reply) for _, reply in parts]
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


def _find_vectors(reply: bytes) -> list[_Span] | None:
    """Find the vectors of a compact reply; None if it is not compact, is incomplete, or has a null."""
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
    """Whether there is no null and no NaN up to ``end``; the names of the fields contain neither ``u`` nor ``N``."""
    start = len(_OPENING)
    return reply.find(b"u", start, end) < 0 and reply.find(b"N", start, end) < 0


def _is_finite(reply: bytes, start: int) -> bool:
    """Whether the first number of a vector in base64, a little-endian float32, is finite."""
    try:
        value = a2b_base64(reply[start : start + 8])
    except Error:
        return False
    # NaN and infinity have all bits of the exponent set.
    return len(value) >= 4 and not (value[3] & 0x7F == 0x7F and value[2] & 0x80)


def _is_whole(reply: bytes, end: int) -> bool:
    """Return True if the fields after the last vector can be parsed.

    Raises:
        Malformed: They cannot be parsed.
    """
    _tail(reply, end)
    return True


def _tail(reply: bytes, end: int) -> dict[str, Json]:
    """Parse the fields after the list of vectors, whose last vector ends at ``end``.

    Raises:
        Malformed: The fields are incomplete or not JSON.
    """
    tail: dict[str, Json] = parse(b"{" + reply[reply.index(_CLOSING, end) + 2 :])
    return tail


def _first(parts: Sequence[PartReply]) -> int:
    """Index of the part that has the first text of the request."""
    return min(range(len(parts)), key=lambda number: min(parts[number][0], default=0))


def _summed(replies: list[dict[str, Json]], first: int) -> dict[str, Json]:
    """The fields of part ``first``, with each whole number in its usage summed over all parts."""
    usages: list[Json] = [reply.get("usage") for reply in replies]
    if not all(isinstance(usage, dict) for usage in usages):
        return replies[first]
    usage = dict(usages[first])
    for name in usage:
        counts = [other.get(name) for other in usages]
        if all(type(count) is int for count in counts):
            usage[name] = sum(counts)
    return {**replies[first], "usage": usage}


def _apportioned(tail: dict[str, Json], costs: Sequence[int]) -> list[dict[str, Json]]:
    """The fields for each text alone: each whole number in the usage is apportioned, the other fields are the same."""
    usage = tail.get("usage")
    if not isinstance(usage, dict):
        return [tail] * len(costs)
    shares = {name: apportioned(count, costs) for name, count in usage.items() if type(count) is int}
    return [
        {**tail, "usage": {name: shares[name][item] if name in shares else count for name, count in usage.items()}}
        for item in range(len(costs))
    ]


def _separate_parsed(reply: bytes, costs: Sequence[int]) -> list[bytes]:
    whole = _parse(len(costs), reply)
    replies = [b""] * len(costs)
    tails = _apportioned(whole, costs)
    for row in whole["data"]:
        item = row["index"]
        replies[item] = orjson.dumps({**tails[item], "data": [{**row, "index": 0}]})
    return replies


def _join_parsed(parts: Sequence[PartReply]) -> bytes:
    replies = [_parse(len(items), reply) for items, reply in parts]
    rows: list[Json] = [None] * sum(len(items) for items, _ in parts)
    for (items, _), reply in zip(parts, replies, strict=True):
        for row in reply["data"]:
            item = items[row["index"]]
            rows[item] = {**row, "index": item}
    return orjson.dumps({**_summed(replies, _first(parts)), "data": rows})


def _parse(count: int, reply: bytes) -> dict[str, Json]:
    """Parse a reply, compact or not.

    Raises:
        Malformed: The reply does not have a vector for each of ``count`` texts.
    """
    value = parse(reply)
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, list) or len(data) != count or not all(isinstance(row, dict) for row in data):
        raise mismatch(count, reply)
    if {_index(row) for row in data} != set(range(count)) or not all(
        _is_embedding(row.get("embedding")) for row in data
    ):
        raise mismatch(count, reply)
    whole: dict[str, Json] = value
    return whole


def _index(row: dict[str, Json]) -> int:
    index = row.get("index")
    return index if type(index) is int else -1


def _is_embedding(value: Json) -> bool:
    if isinstance(value, str):
        return _is_finite(value.encode(), 0)
    return is_vector(value)


OPENAI = OpenAIReply()
