"""Splitting of requests into parts that are limited in tokens, texts and bytes.

Each part repeats everything in the request except the texts. All parts together have at most twice the bytes of the
request, or 256 kB if that is more, so that a small request does not become a large one. A request that would need more
is not split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.dispatch.request import Request, SplitState

WHOLE_TOKENS: Final = 2048
"""Most tokens of an online request that goes whole to one replica."""
_MOST_PART_TOKENS = 8192
# A remainder of up to this share of a part is added to the part instead of being sent alone.
_CRUMB = 0.25
_LEAST_STAGGER = 0.6
_STAGGERS = 8
# All parts of a request together have at most `_MOST_TIMES` its bytes, or `_LITTLE_BYTES` if that is more.
_MOST_TIMES: Final = 2
_LITTLE_BYTES: Final = 256_000
_WORTH = 1.02  # a smaller part is chosen only if it ends farther from the other ends by this factor


@dataclass(frozen=True, slots=True)
class PartBounds:
    """Limits of one part. A single text may exceed the limits of tokens and bytes, because a text cannot be split."""

    tokens: int
    texts: int
    size_bytes: int

    @classmethod
    def of(cls, tokens: int, abilities: Capabilities) -> "PartBounds":
        """Return bounds of the given tokens, and the texts and bytes that the replica takes."""
        return cls(tokens, abilities.batch_texts, abilities.body_bytes)


def split_state_of(request: Request, abilities: Capabilities, *, by_length: bool) -> SplitState | None:
    """Return the split state of a request, with the number of parts that its size allows.

    Args:
        request: Request to split.
        abilities: Capabilities of the replica that takes the fewest texts.
        by_length: Whether a part should get texts of similar length.

    Returns:
        The split state; None if the request must go whole.
    """
    state = request.handle.split(by_length=by_length)
    if state is None:
        return None
    texts = max(1, min(abilities.batch_texts, abilities.permits) - state.extra)
    fewest = fewest_parts([state.sizes[item] for item in state.order], state.frame_bytes, texts, abilities.body_bytes)
    state.spare_parts = most_parts(state, request.size_bytes) - fewest
    return state if state.spare_parts >= 0 else None


def most_parts(state: SplitState, received_bytes: int) -> int:
    """Return the most parts into which a request of the given size may be split."""
    return (max(_MOST_TIMES * received_bytes, _LITTLE_BYTES) - sum(state.sizes)) // max(1, state.frame_bytes)


def fewest_parts(sizes: Sequence[int], frame_bytes: int, texts: int, size_bytes: int) -> int:
    """Return the fewest parts into which texts can be split; a text over the byte limit is a part of its own.

    Args:
        sizes: Bytes of each text.
        frame_bytes: Bytes of each part besides its texts.
        texts: Most texts of a part.
        size_bytes: Most bytes of a part.
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


def most_tokens(state: SplitState, tokens: int) -> int:
    """Return the most tokens that `split_next` takes with a limit of ``tokens``, which a remainder may exceed."""
    if state.spare_parts <= 0:
        return state.waiting_tokens
    return max(state.costs[state.order[state.taken]], min(int(tokens * (1 + _CRUMB)), state.waiting_tokens))


def split_next(state: SplitState, bounds: PartBounds) -> tuple[list[int], int]:
    """Split the next part off a request. Its tokens are limited only while there are spare parts.

    Args:
        state: Split state with at least one text that is in no part yet.
        bounds: Limits of the part.

    Returns:
        Indices of the part's texts, in order, and its tokens.
    """
    tokens, size = 0, state.frame_bytes
    end = state.taken
    texts = max(1, bounds.texts - state.extra)
    most = inf if state.spare_parts <= 0 or state.waiting_tokens <= bounds.tokens * (1 + _CRUMB) else bounds.tokens
    while end < len(state.order) and end - state.taken < texts:
        item = state.order[end]
        if end > state.taken and size + state.sizes[item] > bounds.size_bytes:
            break
        if end > state.taken and tokens + state.costs[item] > most:
            state.spare_parts -= 1  # the part could have taken more texts
            break
        tokens += state.costs[item]
        size += state.sizes[item]
        end += 1
    items = list(state.order[state.taken : end])
    state.taken = end
    state.waiting_tokens -= tokens
    return items, tokens


def split_evenly(state: SplitState, replicas: int, abilities: Capabilities) -> list[tuple[list[int], int]]:
    """Split all of an online request evenly over the replicas, into fewer parts if they would be too small.

    Args:
        state: Split state of the request.
        replicas: Number of replicas.
        abilities: Capabilities of the replica that takes the fewest texts.

    Returns:
        For each part the indices of its texts, and its tokens.
    """
    part = min(max(WHOLE_TOKENS, ceil(state.waiting_tokens / replicas)), _MOST_PART_TOKENS, abilities.batch_tokens)
    even = ceil(state.waiting_tokens / ceil(state.waiting_tokens / part))
    parts = []
    while not state.is_complete:
        parts.append(split_next(state, PartBounds.of(even, abilities)))
    return parts


def staggered(most: int, start: float, ends: Sequence[float], cost: BatchCost) -> int:
    """Return the tokens of a bulk part, chosen so that replicas become free one after the other and not all at once.

    Arriving online work waits for the first free replica. If parts end at equal distances, that wait is at most the
    duration of a part divided by the number of replicas; if they end together, it may be the whole duration.

    Args:
        most: Most tokens of the part.
        start: Time at which the part will begin.
        ends: Times at which the other replicas will have finished their chunks.
        cost: Batch cost of the part's replica, its slowness included.

    Returns:
        The size, between `_LEAST_STAGGER` of ``most`` and ``most``, whose end is farthest from all other ends, if each
        replica continues with parts of ``most``.
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


def by_length(costs: list[int]) -> list[int]:
    """Return the indices of texts in order of length, the longest first."""
    return sorted(range(len(costs)), key=costs.__getitem__, reverse=True)
