"""Joining of replies to ``/rerank``: the ranks of all parts, merged into one ranking in TEI's order."""

from collections.abc import Sequence
from math import isfinite

import orjson
from typing_extensions import override

from embedfleet.dialects.splitting.reply import PartReply, ReplyShape, is_number, mismatch, parse

_OPENING = b'[{"index":'
_BETWEEN = b'},{"index":'
_CLOSING = b"}]"
_SCORE = b',"score":'

_Rank = tuple[float, int, bytes]
"""Score, index in the part, and bytes of the other fields of a rank, starting with the comma after the index."""


class RankingReply(ReplyShape):
    """``[{"index", "text"?, "score"}]``, by descending score; among equal scores, the higher index first.

    A text may contain anything, but every quote in it is escaped. So ``{"index":`` with plain quotes always begins
    a rank, and ``,"score":`` always begins its score.

    `check` does not read every score and index of a compact reply; `join` does.
    """

    __slots__ = ()

    @override
    def check(self, count: int, reply: bytes) -> None:
        if not _is_plain(count, reply):
            _read(count, reply)

    @override
    def separate(self, reply: bytes, costs: Sequence[int]) -> list[bytes]:
        replies = [b""] * len(costs)
        for _, index, rest in _read(len(costs), reply):
            replies[index] = b"%b0%b%b" % (_OPENING, rest, _CLOSING)
        return replies

    @override
    def join(self, parts: Sequence[PartReply]) -> bytes:
        ranks = [
            (score, items[index], rest) for items, reply in parts for score, index, rest in _read(len(items), reply)
        ]
        ranks.sort(reverse=True)
        return _OPENING + _BETWEEN.join([b"%d%b" % (index, rest) for _, index, rest in ranks]) + _CLOSING


def _is_plain(count: int, reply: bytes) -> bool:
    """Whether a reply is compact and complete, has ``count`` ranks, and no null or NaN."""
    if not reply.startswith(_OPENING) or not reply.endswith(_CLOSING) or reply.count(_OPENING[1:]) != count:
        return False
    if b'"score":null' in reply or b'"score":NaN' in reply:
        return False
    try:
        return isfinite(float(reply[reply.rfind(_SCORE) + len(_SCORE) : -len(_CLOSING)]))
    except ValueError:  # the reply ends within a text
        return False


def _read(count: int, reply: bytes) -> list[_Rank]:
    """Read the ranks of a reply.

    Raises:
        Malformed: The reply does not have one rank for each of ``count`` texts, or a score is not a number.
    """
    ranks = _split(reply)
    if ranks is None:
        ranks = _parse(count, reply)
    if len(ranks) != count or {index for _, index, _ in ranks} != set(range(count)):
        raise mismatch(count, reply)
    return ranks


def _split(reply: bytes) -> list[_Rank] | None:
    """Split a compact reply into its ranks; None if it is not compact or is incomplete."""
    if not reply.startswith(_OPENING) or not reply.endswith(_CLOSING):
        return None
    ranks: list[_Rank] = []
    try:
        for rank in reply[len(_OPENING) : -len(_CLOSING)].split(_BETWEEN):
            comma = rank.index(b",")
            score = float(rank[rank.rindex(_SCORE) + len(_SCORE) :])
            if not isfinite(score):
                return None
            ranks.append((score, int(rank[:comma]), rank[comma:]))
    except ValueError:  # a number or a score is missing
        return None
    return ranks


def _parse(count: int, reply: bytes) -> list[_Rank]:
    value = parse(reply)
    if not isinstance(value, list):
        raise mismatch(count, reply)
    ranks: list[_Rank] = []
    for rank in value:
        if not isinstance(rank, dict) or not is_number(rank.get("score")) or type(rank.get("index")) is not int:
            raise mismatch(count, reply)
        rest = {name: field for name, field in rank.items() if name != "index"}
        ranks.append((rank["score"], rank["index"], b"," + orjson.dumps(rest)[1:-1]))
    return ranks


RANKING = RankingReply()
