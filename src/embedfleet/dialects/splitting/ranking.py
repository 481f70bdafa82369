"""Replies to ``/rerank``: ranks of the parts of a request, merged into one ranking as TEI sorts it."""

from collections.abc import Sequence
from math import isfinite

import orjson

from embedfleet.dialects.splitting.answers import Answers, Part, is_number, parse, unfit

_OPENING = b'[{"index":'
_BETWEEN = b'},{"index":'
_CLOSING = b"}]"
_SCORE = b',"score":'

_Rank = tuple[float, int, bytes]
"""Score, index in the part, and the rank's fields after the index as they were written, with the comma."""


class Ranking(Answers):
    """``[{"index", "text"?, "score"}]``, by falling score, of equal scores the higher index first.

    A text may hold anything, but no quote that is not escaped. So ``{"index":`` with plain quotes is the beginning of a
    rank wherever it stands, and ``,"score":`` the beginning of its score.
    """

    __slots__ = ()

    def check(self, count: int, reply: bytes) -> None:
        """See `Answers`; of a compact reply only `join` reads the indices and all scores."""
        if not _is_plain(count, reply):
            _read(count, reply)

    def join(self, parts: Sequence[Part]) -> bytes:
        """See `Answers`."""
        ranks = [
            (score, items[index], rest) for items, reply in parts for score, index, rest in _read(len(items), reply)
        ]
        ranks.sort(reverse=True)
        return _OPENING + _BETWEEN.join([b"%d%b" % (index, rest) for _, index, rest in ranks]) + _CLOSING


def _is_plain(count: int, reply: bytes) -> bool:
    """Whether a reply is compact and whole, has so many ranks, and no null or NaN."""
    if not reply.startswith(_OPENING) or not reply.endswith(_CLOSING) or reply.count(_OPENING[1:]) != count:
        return False
    if b'"score":null' in reply or b'"score":NaN' in reply:
        return False
    try:
        return isfinite(float(reply[reply.rfind(_SCORE) + len(_SCORE) : -len(_CLOSING)]))
    except ValueError:  # it ends within a text
        return False


def _read(count: int, reply: bytes) -> list[_Rank]:
    """A reply's ranks.

    Raises:
        Malformed: they are not one for each of ``count`` texts, or a score is no number.
    """
    ranks = _cut(reply)
    if ranks is None:
        ranks = _parse(count, reply)
    if len(ranks) != count or {index for _, index, _ in ranks} != set(range(count)):
        raise unfit(count, reply)
    return ranks


def _cut(reply: bytes) -> list[_Rank] | None:
    """The ranks of a compact reply, or None if it is not compact, or not whole."""
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
    except ValueError:  # no number, or no score
        return None
    return ranks


def _parse(count: int, reply: bytes) -> list[_Rank]:
    value = parse(reply)
    if not isinstance(value, list):
        raise unfit(count, reply)
    ranks: list[_Rank] = []
    for rank in value:
        if not isinstance(rank, dict) or not is_number(rank.get("score")) or type(rank.get("index")) is not int:
            raise unfit(count, reply)
        rest = {name: field for name, field in rank.items() if name != "index"}
        ranks.append((rank["score"], rank["index"], b"," + orjson.dumps(rest)[1:-1]))
    return ranks


RANKING = Ranking()
