"""The speed of a replica: the measured cost of its batches, and its present slowness relative to that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# A reply within this share of a batch's fixed cost after the last one belongs to the same batch.
_SAME_BATCH: Final = 0.5
# Seconds of work that are remembered: both sums are halved when the expected time exceeds this.
_MEMORY_S: Final = 2.0
_PRIOR_S: Final = 0.5
# A replica is measured when it joins, perhaps while others start on the same machine: it may be much faster later.
_LEAST_SLOWNESS: Final = 0.1
_MOST_SLOWNESS: Final = 5.0
# The time of one batch counts at most as this multiple of its expected time, because a stall says nothing of speed.
_OUTLIER: Final = 5.0
# A bulk chunk takes this multiple of a batch's fixed cost, so that the fixed cost is a small share.
_CHUNK_BATCHES = 20
_CALL_S = 0.0015  # cost of a call besides the computing: HTTP, JSON and waking a thread


@dataclass(frozen=True, slots=True)
class BatchCost:
    """Time that a replica needs for a batch: ``a_s + b_s * tokens`` seconds.

    Attributes:
        a_s: Seconds per batch.
        b_s: Seconds per token.
    """

    a_s: float = 0.003
    b_s: float = 1 / 150_000

    @property
    def chunk_tokens(self) -> int:
        """Tokens that take twenty times as long as the fixed cost of a batch, or of a call if that is more."""
        return max(1, int(_CHUNK_BATCHES * max(self.a_s, _CALL_S) / self.b_s))

    def tokens_per_s(self, batch_tokens: int) -> float:
        """Return the throughput in tokens per second with batches of the given number of tokens."""
        return batch_tokens / (self.a_s + self.b_s * batch_tokens)


def fit(samples: Sequence[tuple[int, float]]) -> BatchCost | None:
    """Fit a batch cost to measured batches by least squares; both of its parts have a positive lower bound.

    Args:
        samples: Tokens and seconds of each batch.

    Returns:
        The cost; None if all batches had the same number of tokens.
    """
    count = len(samples)
    mean_tokens = sum(tokens for tokens, _ in samples) / max(count, 1)
    mean_s = sum(seconds for _, seconds in samples) / max(count, 1)
    spread = sum((tokens - mean_tokens) ** 2 for tokens, _ in samples)
    if spread == 0:
        return None
    slope = sum((tokens - mean_tokens) * (seconds - mean_s) for tokens, seconds in samples) / spread
    b_s = min(max(slope, 1e-8), 1.0)
    return BatchCost(min(max(mean_s - b_s * mean_tokens, 1e-4), 10.0), b_s)


class Pace:
    """A replica's batch cost, and its slowness: the actual time of its batches divided by the predicted time.

    Replies that come together belong to one batch, so the time between two such groups is the time of one batch.

    Attributes:
        cost: Batch cost as measured.
        slowness: Actual time divided by predicted time.
        token_s: Seconds per token, slowness included.
    """

    __slots__ = ("_batch_tokens", "_began_at", "_busy_s", "_ended_at", "_expected_s", "cost", "slowness", "token_s")

    def __init__(self) -> None:
        self.cost = BatchCost()
        self.slowness = 1.0
        self.token_s = self.cost.b_s
        self._busy_s = 0.0
        self._expected_s = 0.0
        self._ended_at = 0.0  # end of the batch whose replies are being read
        self._batch_tokens = 0
        self._began_at = 0.0  # earliest possible start of that batch

    @property
    def batch_s(self) -> float:
        """Seconds of a batch's fixed cost, slowness included."""
        return self.slowness * self.cost.a_s

    @property
    def real_cost(self) -> BatchCost:
        """Batch cost with slowness included."""
        return BatchCost(self.batch_s, self.token_s)

    def set_cost(self, cost: BatchCost) -> None:
        """Set a newly measured cost, and forget the slowness learnt since the last measurement."""
        self.cost = cost
        self._busy_s = self._expected_s = 0.0
        self._weigh()

    def learn(self, tokens: int, sent_at: float, now: float) -> None:
        """Update the slowness from a reply that has just come.

        Args:
            tokens: Estimated tokens of the chunk.
            sent_at: Time at which the chunk was sent.
            now: Time in seconds.
        """
        if now - self._ended_at < _SAME_BATCH * self.cost.a_s:
            self._batch_tokens += tokens
        else:
            self._close()
            self._began_at = max(sent_at, self._ended_at)
            self._batch_tokens = tokens
        self._ended_at = now

    def _close(self) -> None:
        """Add the batch that has ended to the sums."""
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
