"""Which of the waiting inputs run together, under a token budget, the oldest always among them.

A backend without padding takes them by age, each that there is still room for: every pass reads all weights, so few
passes are better than many. Where padding costs, as in a model that somebody else exported, inputs are of like length:
batches in arrival order spend most of their work on padding. So a batch grows around its oldest input, with those
nearest to it in length, while the padding stays within bounds.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one forward pass.

    Attributes:
        tokens: of all inputs, padding included; an input that is longer alone runs alone.
        padding: the share of those that may be padding, 0 to 1; None where nothing is padded.
        inputs: how many inputs.
    """

    tokens: int = 512
    padding: float | None = 0.15
    inputs: int = 128


def choose_batch(lengths: Sequence[int], limits: BatchLimits) -> list[int]:
    """Indices of the inputs that should run next, in order of length: attention takes equals together.

    Args:
        lengths: tokens of each waiting input, oldest first; not empty.
        limits: of the batch.

    Returns:
        At least one index, 0 among them.
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
    """The oldest, and of its neighbours in length the nearer one as long as either fits."""

    def fits(low: int, high: int, real: int) -> bool:
        count, padded = high - low, (high - low) * sizes[high - 1]
        return count <= limits.inputs and padded <= limits.tokens and padded - real <= padding * padded

    order = sorted(range(len(lengths)), key=lengths.__getitem__)  # stable: of equal lengths the oldest comes first
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
