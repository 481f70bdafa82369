"""How fast a replica works: what a batch costs it, and by how much it is off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# A reply after the last by less than this share of a batch's fixed cost belongs to the same batch.
_SAME_BATCH: Final = 0.5
# What is remembered of the work done, in seconds: both sums are halved when the expected one passes it.
_MEMORY_S: Final = 2.0
_PRIOR_S: Final = 0.5
# A replica is measured when it joins, maybe while others start beside it: it may be much faster than that.
_LEAST_SLOWNESS: Final = 0.1
_MOST_SLOWNESS: Final = 5.0
# One batch counts at most so many times what was expected of it: a stall is not a speed.
_OUTLIER: Final = 5.0
# So many times its fixed cost a bulk chunk takes: what that is worth for its smallness.
_CHUNK_BATCHES = 20
_CALL_S = 0.0015  # what a call costs a replica that computes in no time: HTTP, JSON and a thread's waking


@dataclass(frozen=True, slots=True)
class Cost:
    """What a batch costs a replica: ``a_s + b_s * tokens`` seconds.

    Attributes:
        a_s: seconds per batch.
        b_s: seconds per token.
    """

    a_s: float = 0.003
    b_s: float = 1 / 150_000

    @property
    def chunk_tokens(self) -> int:
        """Tokens of a batch of which the fixed cost, at least a call's own, is a twentieth."""
        return max(1, int(_CHUNK_BATCHES * max(self.a_s, _CALL_S) / self.b_s))

    def tokens_per_s(self, batch_tokens: int) -> float:
        """With batches of so many tokens."""
        return batch_tokens / (self.a_s + self.b_s * batch_tokens)


def fit(samples: Sequence[tuple[int, float]]) -> Cost | None:
    """The cost that explains measured batches: least squares, neither part below what can be measured.

    Args:
        samples: tokens and seconds of each batch.

    Returns:
        None if all batches had the same tokens.
    """
    count = len(samples)
    mean_tokens = sum(tokens for tokens, _ in samples) / max(count, 1)
    mean_s = sum(seconds for _, seconds in samples) / max(count, 1)
    spread = sum((tokens - mean_tokens) ** 2 for tokens, _ in samples)
    if spread == 0:
        return None
    slope = sum((tokens - mean_tokens) * (seconds - mean_s) for tokens, seconds in samples) / spread
    b_s = min(max(slope, 1e-8), 1.0)
    return Cost(min(max(mean_s - b_s * mean_tokens, 1e-4), 10.0), b_s)


class Pace:
    """A replica's cost, and its slowness: the time it takes over the time that the cost says.

    Replies that come together are of one batch, so the time from batch to batch is what a batch took.
    """

    __slots__ = ("_batch_tokens", "_began_at", "_busy_s", "_ended_at", "_expected_s", "cost", "slowness", "token_s")

    def __init__(self) -> None:
        self.cost = Cost()
        self.slowness = 1.0
        self.token_s = self.cost.b_s  # per token, slowness included
        self._busy_s = 0.0
        self._expected_s = 0.0
        self._ended_at = 0.0  # when the batch whose replies come now ended
        self._batch_tokens = 0
        self._began_at = 0.0  # when that batch can have begun at the earliest

    @property
    def batch_s(self) -> float:
        """A batch's fixed cost, slowness included."""
        return self.slowness * self.cost.a_s

    @property
    def real_cost(self) -> Cost:
        """What a batch really costs, slowness included."""
        return Cost(self.batch_s, self.token_s)

    def set_cost(self, cost: Cost) -> None:
        """The replica was measured anew."""
        self.cost = cost
        self._busy_s = self._expected_s = 0.0
        self._weigh()

    def answered(self, tokens: int, sent_at: float, now: float) -> None:
        """A reply came to a chunk of so many tokens."""
        if now - self._ended_at < _SAME_BATCH * self.cost.a_s:
            self._batch_tokens += tokens
        else:
            self._close()
            self._began_at = max(sent_at, self._ended_at)
            self._batch_tokens = tokens
        self._ended_at = now

    def _close(self) -> None:
        """Count the batch before."""
        if not self._batch_tokens:
            return
        expected = self.cost.a_s + self.cost.b_s * self._batch_tokens
        self._busy_s += min(self._ended_at - self._began_at, _OUTLIER * expected)
        self._expected_s += expected
        if self._expected_s > _MEMORY_S:
            self._expected_s /= 2
            self._busy_s /= 2
        self._weigh()

    def _weigh(self) -> None:
        seen = (self._busy_s + _PRIOR_S) / (self._expected_s + _PRIOR_S)
        self.slowness = min(max(seen, _LEAST_SLOWNESS), _MOST_SLOWNESS)
        self.token_s = self.slowness * self.cost.b_s
