"""How requests are cut into chunks: by tokens, texts and bytes at once.

Each part repeats what the request says beside its texts. So that nobody's small request becomes a large one, all parts
together are at most twice what came; a request for which that is too little is not cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Abilities
from embedfleet.gateway.dispatch.request import Batch, Request

SCATTER_TOKENS: Final = 2048
"""An online request of so many tokens or less goes whole to one replica."""
_SCATTER_MOST = 8192
# What would be left over, as a share of the chunk, is taken too rather than sent alone.
_CRUMB = 0.25
_LEAST_STAGGER = 0.6
_STAGGERS = 8
# All parts of a request together, over the request's own bytes; or so many bytes, where that is more.
_MOST_TIMES: Final = 2
_LITTLE_BYTES: Final = 256_000
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


def divided(request: Request, abilities: Abilities, *, by_length: bool) -> Batch | None:
    """The texts of a request that may be cut, with the number of parts that its bytes allow; None if it goes whole.

    Args:
        request: a client's.
        abilities: of the replica that takes least.
        by_length: whether texts of like length are to come together.
    """
    batch = request.divide(by_length=by_length)
    if batch is None:
        return None
    texts = max(1, min(abilities.batch_texts, abilities.permits) - batch.extra)
    fewest = fewest_parts([batch.sizes[item] for item in batch.order], batch.frame_bytes, texts, abilities.body_bytes)
    batch.spare_parts = most_parts(batch, request.size_bytes) - fewest
    return batch if batch.spare_parts >= 0 else None


def most_parts(batch: Batch, received_bytes: int) -> int:
    """Into how many parts a request of so many bytes may be cut."""
    return (max(_MOST_TIMES * received_bytes, _LITTLE_BYTES) - sum(batch.sizes)) // max(1, batch.frame_bytes)


def fewest_parts(sizes: Sequence[int], frame_bytes: int, texts: int, size_bytes: int) -> int:
    """Into how many parts texts must be cut at least, each of at most so many texts and bytes.

    A text that is over the bytes is a part of its own.
    """
    if frame_bytes + sum(sizes) <= size_bytes:
        return ceil(len(sizes) / texts)
    parts, size, count = 1, frame_bytes, 0
    for text_bytes in sizes:
        if count and (count == texts or size + text_bytes > size_bytes):
            parts, size, count = parts + 1, frame_bytes, 0
        size += text_bytes
        count += 1
    return parts


def most_tokens(batch: Batch, tokens: int) -> int:
    """The most that `carve` cuts off a batch at such a bound: a crumb more, or one text that is over it."""
    if batch.spare_parts <= 0:
        return batch.waiting_tokens
    return max(batch.costs[batch.order[batch.taken]], min(int(tokens * (1 + _CRUMB)), batch.waiting_tokens))


def carve(batch: Batch, bounds: Bounds) -> tuple[list[int], int]:
    """Cut the next chunk off: its texts' indices, in order, and its tokens.

    Tokens bound it only as long as there are parts to spare.

    Args:
        batch: with at least one text that is not cut off yet.
        bounds: of the chunk.
    """
    tokens, size = 0, batch.frame_bytes
    end = batch.taken
    texts = max(1, bounds.texts - batch.extra)
    most = inf if batch.spare_parts <= 0 or batch.waiting_tokens <= bounds.tokens * (1 + _CRUMB) else bounds.tokens
    while end < len(batch.order) and end - batch.taken < texts:
        item = batch.order[end]
        if end > batch.taken and size + batch.sizes[item] > bounds.size_bytes:
            break
        if end > batch.taken and tokens + batch.costs[item] > most:
            batch.spare_parts -= 1  # it could have taken more
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
