"""How requests are cut into chunks: by tokens, texts and bytes at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Abilities
from embedfleet.gateway.dispatch.request import Batch

SCATTER_TOKENS: Final = 2048
"""An online request of so many tokens or less goes whole to one replica."""
_SCATTER_MOST = 8192
# What would be left over, as a share of the chunk, is taken too rather than sent alone.
_CRUMB = 0.25
_LEAST_STAGGER = 0.6
_STAGGERS = 8
_WORTH = 1.02  # a smaller chunk is chosen only if its end is farther from others' by this factor


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one chunk; a single text may be over the tokens and the bytes, for it cannot be cut."""

    tokens: int
    texts: int
    size_bytes: int

    @classmethod
    def of(cls, tokens: int, abilities: Abilities) -> "Bounds":
        """So many tokens, and what the replica takes."""
        return cls(tokens, abilities.batch_texts, abilities.body_bytes)


def most_tokens(batch: Batch, tokens: int) -> int:
    """The most that `carve` cuts off a batch at such a bound: a crumb more, or one text that is over it."""
    return max(batch.costs[batch.order[batch.taken]], min(int(tokens * (1 + _CRUMB)), batch.waiting_tokens))


def carve(batch: Batch, bounds: Bounds) -> tuple[list[int], int]:
    """Cut the next chunk off: its texts' indices, in order, and its tokens.

    Args:
        batch: with at least one text that is not cut off yet.
        bounds: of the chunk.
    """
    tokens, size = 0, batch.frame_bytes
    end = batch.taken
    texts = max(1, bounds.texts - batch.extra)
    crumb = batch.waiting_tokens <= bounds.tokens * (1 + _CRUMB)
    while end < len(batch.order) and end - batch.taken < texts:
        item = batch.order[end]
        over = tokens + batch.costs[item] > bounds.tokens and not crumb
        if end > batch.taken and (over or size + batch.sizes[item] > bounds.size_bytes):
            break
        tokens += batch.costs[item]
        size += batch.sizes[item]
        end += 1
    items = list(batch.order[batch.taken : end])
    batch.taken = end
    batch.waiting_tokens -= tokens
    return items, tokens


def staggered(most: int, start: float, ends: Sequence[float], cost: Cost) -> int:
    """Tokens of a bulk chunk, so that replicas become free one after the other and not all at once.

    Online work that comes waits for the replica that is free first: where chunks end at equal distances that is at most
    a chunk's time over the number of replicas, where they end together it may be a whole one's.

    Args:
        most: tokens.
        start: when the chunk will be begun.
        ends: when the other replicas will be done with what they have.
        cost: of the chunk's replica, its slowness included.

    Returns:
        At most ``most``, at least `_LEAST_STAGGER` of it: of such sizes the one that ends farthest from all others, if
        each goes on with chunks of ``most``.
    """
    if not ends:
        return most
    period = cost.a_s + cost.b_s * most
    best, widest = most, -1.0
    for step in range(_STAGGERS + 1):
        tokens = int(most * (1 - (1 - _LEAST_STAGGER) * step / _STAGGERS))
        end = start + cost.a_s + cost.b_s * tokens
        gap = min(min((end - other) % period, (other - end) % period) for other in ends)
        if gap > widest * _WORTH:
            best, widest = tokens, gap
    return best


def scatter(batch: Batch, replicas: int, abilities: Abilities) -> list[tuple[list[int], int]]:
    """Cut all of an online request, evenly over the replicas as long as the chunks are worth it."""
    chunk = min(max(SCATTER_TOKENS, ceil(batch.waiting_tokens / replicas)), _SCATTER_MOST, abilities.batch_tokens)
    even = ceil(batch.waiting_tokens / ceil(batch.waiting_tokens / chunk))
    found = []
    while not batch.is_taken:
        found.append(carve(batch, Bounds.of(even, abilities)))
    return found


def by_length(costs: list[int]) -> list[int]:
    """The order in which texts of like length come together, the longest first."""
    return sorted(range(len(costs)), key=costs.__getitem__, reverse=True)
