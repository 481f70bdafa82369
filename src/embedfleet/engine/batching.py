"""Which of the waiting inputs run together: of like length, under a token budget, the oldest always among them.

On a CPU a batch is worth making only if it pads little: batches in arrival order spend most of their work on padding,
and one text at a time is nearly as fast as the best batch. So a batch grows around its oldest input, with those
nearest to it in length, while the padding stays within bounds.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one forward pass.

    Attributes:
        tokens: inputs times the longest input's tokens; an input that is longer alone runs alone.
        padding: the share of those that may be padding, 0 to 1.
        inputs: how many inputs.
    """

    tokens: int = 512
    padding: float = 0.15
    inputs: int = 128


def choose_batch(lengths: Sequence[int], limits: BatchLimits) -> list[int]:
    """Indices of the inputs that should run next, in order of length.

    Args:
        lengths: tokens of each waiting input, oldest first; not empty.
        limits: of the batch.

    Returns:
        At least one index, 0 among them.
    """
    if len(lengths) == 1:
        return [0]
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    sizes = [lengths[index] for index in order]
    low = bisect_left(sizes, lengths[0])  # of equal lengths the oldest sorts first
    high = low + 1
    real = lengths[0]
    while True:
        shorter = lengths[0] - sizes[low - 1] if low > 0 else None
        longer = sizes[high] - lengths[0] if high < len(sizes) else None
        takes_longer = shorter is None or (longer is not None and longer <= shorter)
        for side in ("high", "low") if takes_longer else ("low", "high"):
            if side == "high" and longer is not None and _fits(high - low + 1, sizes[high], real + sizes[high], limits):
                real += sizes[high]
                high += 1
                break
            if (
                side == "low"
                and shorter is not None
                and _fits(high - low + 1, sizes[high - 1], real + sizes[low - 1], limits)
            ):
                real += sizes[low - 1]
                low -= 1
                break
        else:
            return order[low:high]


def _fits(count: int, longest: int, real: int, limits: BatchLimits) -> bool:
    padded = count * longest
    return count <= limits.inputs and padded <= limits.tokens and padded - real <= limits.padding * padded
