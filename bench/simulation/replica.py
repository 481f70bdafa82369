"""A replica as TEI is one: permits per text, one queue, batches of as many texts as fit, one batch at a time.

Modelled on TEI 1.9 (core/src/queue.rs, core/src/infer.rs): a request takes a permit for each text or is refused whole
with 429; texts wait in order; a batch takes texts until the next would exceed its tokens; texts whose client has gone
are dropped when the batch is formed; a request is answered when its last text is done.
"""

from collections import deque
from collections.abc import Callable

from bench.simulation.clock import Clock
from bench.workload import Cost

PERMITS = 512
NETWORK_S = 0.000_25
"""Each way."""


class SimCall:
    """One request to a replica.

    Attributes:
        tokens: of its texts.
        answered: called with the status when the answer has come back; with 0 if the connection broke.
        cancelled: whether the client is gone.
    """

    __slots__ = ("answered", "cancelled", "done", "started", "tokens")

    def __init__(self, tokens: tuple[int, ...], answered: Callable[[int], None]) -> None:
        self.tokens = tokens
        self.answered = answered
        self.cancelled = False
        self.started = 0  # texts that were put into a batch
        self.done = 0


class SimReplica:
    """See the module.

    Args:
        clock: of the simulation.
        cost: of a batch.
        slowness: by which every batch takes longer.
        permits: texts that it takes at once.
    """

    def __init__(self, clock: Clock, cost: Cost, slowness: float = 1.0, permits: int = PERMITS) -> None:
        self._clock = clock
        self._cost = cost
        self._slowness = slowness
        self._permits = permits
        self._used = 0
        self._queue: deque[SimCall] = deque()
        self._batch: list[tuple[SimCall, int]] | None = None
        self._ends_at = 0.0
        self._life = 0  # a crash ends one
        self._stalled_until = 0.0
        self.down_until = 0.0
        self.tokens = 0

    def send(self, call: SimCall) -> None:
        """A request is on its way."""
        self._clock.at(self._clock.now + NETWORK_S, lambda: self._receive(call))

    def cancel(self, call: SimCall) -> None:
        """Its client closed the connection; what is in a batch already is computed all the same."""
        call.cancelled = True

    def stall(self, seconds: float) -> None:
        """Nothing moves for some time; what was under way takes so much longer."""
        self._stalled_until = max(self._stalled_until, self._clock.now + seconds)
        if self._batch is not None:
            self._ends_at += seconds
            self._await_end()

    def crash(self, away_s: float) -> None:
        """Connections break, the queue is lost, and nothing listens for some time."""
        self.down_until = self._clock.now + away_s
        self._life += 1
        lost = {call for call, _ in self._batch or ()} | set(self._queue)
        self._batch, self._used = None, 0
        self._queue.clear()
        for call in lost:
            self._answer(call, 0)

    def _receive(self, call: SimCall) -> None:
        if self._clock.now < self.down_until:
            self._answer(call, 0)
        elif self._used + len(call.tokens) > self._permits:
            self._answer(call, 429)
        else:
            self._used += len(call.tokens)
            self._queue.append(call)
            self._begin()

    def _begin(self) -> None:
        """Form a batch, if none runs."""
        if self._batch is not None or self._clock.now < self._stalled_until:
            if self._batch is None and self._queue:
                self._clock.at(self._stalled_until, self._begin)
            return
        batch = self._take()
        if not batch:
            return
        self._batch = batch
        tokens = [call.tokens[item] for call, item in batch]
        self.tokens += sum(tokens)
        self._ends_at = self._clock.now + self._slowness * self._cost.seconds(tokens)
        self._await_end()

    def _take(self) -> list[tuple[SimCall, int]]:
        batch: list[tuple[SimCall, int]] = []
        total = longest = 0
        while self._queue:
            call = self._queue[0]
            if call.cancelled:
                self._used -= len(call.tokens) - call.started
                self._queue.popleft()
                continue
            tokens = call.tokens[call.started]
            longest = max(longest, tokens)
            full = longest * (len(batch) + 1) if self._cost.padded else total + tokens
            if batch and full > self._cost.batch_tokens:
                break
            batch.append((call, call.started))
            total += tokens
            call.started += 1
            if call.started == len(call.tokens):
                self._queue.popleft()
        return batch

    def _await_end(self) -> None:
        life, ends_at = self._life, self._ends_at
        self._clock.at(ends_at, lambda: self._end() if life == self._life and ends_at == self._ends_at else None)

    def _end(self) -> None:
        batch, self._batch = self._batch, None
        for call, _ in batch or ():
            self._used -= 1
            call.done += 1
            if call.done == len(call.tokens):
                self._answer(call, 200)
        self._begin()

    def _answer(self, call: SimCall, status: int) -> None:
        self._clock.at(self._clock.now + NETWORK_S, lambda: None if call.cancelled else call.answered(status))
