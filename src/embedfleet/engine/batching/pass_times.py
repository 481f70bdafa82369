"""The processor time of passes by their size, and the decision whether the next one is short. Pure.

A short pass runs in the event loop, which answers nothing else meanwhile. So it may take no longer than the few
milliseconds for which any thread may keep Python's interpreter to itself. Where several workers can run passes side by
side, it may only take as long as it takes to hand it to one of them. A pass of a size that has not been measured often
enough counts as long.
"""

_SHORT_S = 3e-3
_SHORT_BESIDE_OTHERS_S = 2e-4
_ENOUGH = 8  # passes of a size to measure first
_EVERY = 16  # afterwards, one pass of so many is measured, because asking for the processor time is a system call
_WEIGHT = 0.1  # weight of the last pass in the running mean


class PassTimes:
    """Running means of the times of passes, one for each power of two of their tokens.

    Args:
        workers: Number of worker threads.
        waits_for_device: Whether a pass waits for another device, such as a GPU; then no pass counts as short, because
            that time is not the processor's.
    """

    def __init__(self, workers: int, *, waits_for_device: bool = False) -> None:
        self._most_s = _SHORT_S if workers == 1 else _SHORT_BESIDE_OTHERS_S
        if waits_for_device:
            self._most_s = 0.0
        self._means: dict[int, float] = {}
        self._counts: dict[int, int] = {}
        self._passes = 0

    def is_due(self, tokens: int) -> bool:
        """Whether the next pass, of so many tokens, is to be measured."""
        self._passes += 1
        return self._passes % _EVERY == 0 or self._counts.get(tokens.bit_length(), 0) < _ENOUGH

    def measured(self, tokens: int, seconds: float) -> None:
        """Note the processor time of a pass.

        Args:
            tokens: Tokens of the pass.
            seconds: Processor time of its thread.
        """
        size = tokens.bit_length()
        count = self._counts.get(size, 0)
        mean = self._means.get(size, seconds)
        self._means[size] = mean + max(_WEIGHT, 1 / (count + 1)) * (seconds - mean)
        self._counts[size] = count + 1

    def is_short(self, tokens: int) -> bool:
        """Whether a pass of so many tokens is short."""
        size = tokens.bit_length()
        return self._counts.get(size, 0) >= _ENOUGH and self._means[size] <= self._most_s

    def may_be_short(self, tokens: int) -> bool:
        """Whether a pass of so many tokens is short, or its time is not known yet."""
        size = tokens.bit_length()
        return self._counts.get(size, 0) < _ENOUGH or self._means[size] <= self._most_s
