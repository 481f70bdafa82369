"""The choice of the waiting inputs that run in the next forward pass.

A batch stays within a token budget and always contains the oldest input. Every pass reads all weights, so few large
passes are better than many small ones. A backend without padding takes inputs by age while there is room. A backend
with padding, such as that of exported models, would spend most of its work on padding if batches were in order of
arrival. So its batch starts with the oldest input, and the inputs nearest in length join while the padding stays within
bounds.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

_INPUTS = 128
_FEWEST_TOKENS = 8  # of an input, on average over a full batch


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one forward pass.

    Attributes:
        tokens: Maximum tokens of all inputs together, padding included; a longer input runs alone.
        padding: Maximum share of padding in these tokens, 0 to 1; None for a backend without padding.
        inputs: Maximum number of inputs.
    """

    tokens: int = 512
    padding: float | None = 0.15
    inputs: int = _INPUTS

    @classmethod
    def of(cls, tokens: int, *, is_padding_free: bool) -> "BatchLimits":
        """The limits for a backend with or without padding; without, a large pass has room for many short inputs."""
        return cls(tokens, None, max(_INPUTS, tokens // _FEWEST_TOKENS)) if is_padding_free else cls(tokens)


def choose_batch(lengths: Sequence[int], limits: BatchLimits) -> list[int]:
    """Choose the inputs that run next.

    Args:
        lengths: Number of tokens of each waiting input, oldest first; not empty.
        limits: Bounds of the batch.

    Returns:
        Indices of the inputs, always including 0, in order of length: attention takes inputs of one length together.
    """
    if len(lengths) == 1:
        return [0]
    if limits.padding is None:
        return _by_age(lengths, limits)
    return _of_like_length(lengths, limits, limits.padding)


def _by_age(lengths: Sequence[int], limits: BatchLimits) -> list[int]:
    chosen, room = [0], limits.tokens - lengths[0]
    for index in range(1, len(lengths)):
        if len(chosen) == limits.inputs or room <= 0:
            break
        if lengths[index] <= room:
            chosen.append(index)
            room -= lengths[index]
    return sorted(chosen, key=lengths.__getitem__)


def _of_like_length(lengths: Sequence[int], limits: BatchLimits, padding: float) -> list[int]:
    """Choose the oldest input, then the nearer of the next shorter and the next longer one, while either fits."""

    def fits(low: int, high: int, real: int) -> bool:
        count, padded = high - low, (high - low) * sizes[high - 1]
        return count <= limits.inputs and padded <= limits.tokens and padded - real <= padding * padded

    order = sorted(range(len(lengths)), key=lengths.__getitem__)  # stable: among equal lengths the oldest comes first
    sizes = [lengths[index] for index in order]
    low = bisect_left(sizes, lengths[0])
    high, real = low + 1, lengths[0]
    while True:
        down = low > 0 and fits(low - 1, high, real + sizes[low - 1])
        up = high < len(sizes) and fits(low, high + 1, real + sizes[high])
        if up and not (down and lengths[0] - sizes[low - 1] < sizes[high] - lengths[0]):
            real += sizes[high]
            high += 1
        elif down:
            low -= 1
            real += sizes[low]
        else:
            return order[low:high]
