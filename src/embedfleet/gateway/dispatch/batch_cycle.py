"""The batches of one replica: the one that runs, the one that runs next, and the queue behind them.

A server that computes one batch at a time answers all chunks of a batch together. So an answer tells that the running
batch has ended. TEI forms the next batch while one runs (core/src/infer.rs, `batching_task`), and later chunks cannot
join it; other servers form a batch when the last one has ended. The answers tell which of the two a replica does.
"""

from collections.abc import Iterable
from typing import Final

from embedfleet.gateway.dispatch.replica_speed import Pace

# A batch that is late is predicted to take this multiple of its delay more; otherwise a replica that hangs would look
# like the best choice. Beyond `_LATE_S` it is less likely that the estimate of its tokens is the reason.
_LATE_S: Final = 0.010
_LITTLE_LATE, _VERY_LATE = 1.0, 2.0
# An answer within this share of a batch's fixed cost after the batch's first answer belongs to the same batch.
_SAME_BATCH: Final = 0.5
# Most and least value of the evidence that a replica forms batches ahead; it is taken to do so above 0.
_MOST_EVIDENCE: Final = 8


class BatchCycle:
    """The batches of a replica, as far as its answers tell.

    A chunk belongs to the batch that was computed, runs or is formed if it was sent until a boundary in time. So an
    addition and an answer cost the same however many chunks the replica has, but for the first answer of a batch.

    Args:
        pace: Pace of the replica.

    Attributes:
        batch_tokens: Most tokens of a batch.
        running: Estimated tokens of the running batch; 0 if none runs.
        formed: Estimated tokens of the next batch, if the replica forms one ahead.
        queued: Estimated tokens behind that.
    """

    __slots__ = ("_done_until", "_ends_at", "_evidence", "_formed_until", "_is_predicted", "_pace", "_rest_s",
                 "_run_until", "_started_at", "batch_tokens", "formed", "queued", "running")  # fmt: skip

    def __init__(self, pace: Pace) -> None:
        self.batch_tokens = 16_384
        self.running = self.formed = self.queued = 0
        self._pace = pace
        self._is_predicted = False  # whether `_ends_at` and `_rest_s` hold for the present counts
        self._ends_at = self._rest_s = 0.0
        self._evidence = 1
        self._started_at = 0.0
        self._done_until = self._run_until = self._formed_until = 0.0

    @property
    def is_ahead(self) -> bool:
        """Whether the replica forms the next batch while one runs."""
        return self._evidence > 0

    def seconds_until(self, tokens: int, now: float, *, grows: bool = True) -> float:
        """Return the predicted seconds until a chunk that is sent now is computed.

        Args:
            tokens: Estimated tokens of the chunk.
            now: Time in seconds.
            grows: Whether the prediction grows with the delay of a batch that is late.
        """
        pace = self._pace
        if not self.running:
            return pace.batch_s + pace.token_s * tokens
        if not self._is_predicted:
            self._predict()
        left = self._ends_at - now
        if left < 0.0 and not grows:
            left = 0.0
        elif left < 0.0:
            left *= -_LITTLE_LATE if left > -_LATE_S else -_VERY_LATE
        return left + self._rest_s + pace.token_s * tokens

    def add(self, tokens: int, now: float) -> None:
        """Add a chunk that is being sent."""
        if not self.running:
            self.running = tokens
            self._started_at = self._run_until = self._formed_until = now
        elif not self.formed and self._evidence > 0:
            self.formed = tokens
            self._formed_until = now
        else:
            self.queued += tokens
        self._is_predicted = False

    def take_off(self, tokens: int, sent_at: float, now: float) -> None:
        """Remove a chunk that was computed, failed or cancelled."""
        if sent_at <= self._done_until:
            return
        if sent_at <= self._run_until:
            self.running = max(0, self.running - tokens)
            if not self.running:  # the whole batch failed, so the others may run already
                self.running, self.formed, self.queued = self.formed + self.queued, 0, 0
                self._started_at = self._run_until = self._formed_until = now
        elif sent_at <= self._formed_until:
            self.formed = max(0, self.formed - tokens)
        else:
            self.queued = max(0, self.queued - tokens)
        self._is_predicted = False

    def ends_batch(self, sent_at: float, now: float) -> bool:
        """Note an answer, and return whether it is the first of its batch; then `start_next` must follow.

        Args:
            sent_at: Time at which the answered chunk was sent.
            now: Time in seconds.
        """
        is_same_batch = now - self._started_at < _SAME_BATCH * self._pace.batch_s
        if sent_at <= self._done_until:
            if not is_same_batch:  # it was in a batch of its own, which was formed while the last one ran
                self._evidence = min(_MOST_EVIDENCE, self._evidence + 1)
                self._started_at = now
                self._is_predicted = False
            return False
        if is_same_batch and self._done_until:  # a batch that was formed ahead would take longer
            self._evidence = max(1 - _MOST_EVIDENCE, self._evidence - 1)
        self._done_until = max(self._run_until, sent_at)
        return True

    def shift_time(self, seconds: float) -> None:
        """Shift all times forward by a period in which the gateway read nothing."""
        self._started_at += seconds
        self._done_until += seconds
        self._run_until += seconds
        self._formed_until += seconds
        self._is_predicted = False

    def start_next(self, now: float, left: Iterable[tuple[float, int]]) -> None:
        """Start the next batch, and form one from the queue if the replica forms them ahead.

        Args:
            now: Time in seconds.
            left: Time of the send and tokens of each chunk that the replica still has, oldest first.
        """
        is_ahead, most = self._evidence > 0, self.batch_tokens
        formed_until = self._formed_until
        self._started_at = now
        self._run_until = self._formed_until = max(formed_until, self._done_until)
        self.running = self.formed = self.queued = 0
        for sent_at, tokens in left:
            if sent_at <= self._done_until:
                continue
            if self.queued:
                self.queued += tokens
            elif not self.running or sent_at <= formed_until or (not is_ahead and self.running + tokens <= most):
                self.running += tokens
                self._run_until = self._formed_until = max(formed_until, sent_at)
            elif is_ahead and (not self.formed or self.formed + tokens <= most):
                self.formed += tokens
                self._formed_until = sent_at
            else:
                self.queued += tokens
        self._is_predicted = False

    def _predict(self) -> None:
        """Predict the end of the running batch, and the seconds from that to the end of the batch of a new chunk."""
        batch_s, token_s = self._pace.batch_s, self._pace.token_s
        self._ends_at = self._started_at + batch_s + token_s * self.running
        batches = 1 + self.queued // self.batch_tokens  # those of the queue, with the chunk that is sent now
        if self.formed:
            batches += 1
        self._rest_s = batches * batch_s + token_s * (self.formed + self.queued)
        self._is_predicted = True
