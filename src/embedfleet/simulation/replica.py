"""A model of a TEI server with permits per text, one queue, and one full batch at a time.

The model follows TEI 1.9 (core/src/queue.rs, core/src/infer.rs, router/src/http/server.rs). A request needs a permit
for each text, and is refused with 429 as a whole if there are too few. Texts wait in order of arrival. A batch gets
texts until the next one would exceed its tokens. While one batch runs, the next is already formed, and later texts
cannot join it. Texts whose client has left are dropped when a batch is formed. A request is answered when its last text
is computed.
"""

from collections import deque
from collections.abc import Callable

from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.clock import Clock

PERMITS = 512
NETWORK_S = 0.000_25
"""One-way network delay, in seconds."""

OK, THROTTLED = 200, 429
RESET, REFUSED = 0, -1
"""Values instead of a status: the connection broke after the send; no connection could be opened."""


class SimCall:
    """One request to a replica.

    Attributes:
        tokens: Tokens of each text.
        answered: Callback with the status of the answer, or with `RESET` or `REFUSED`.
        cancelled: Whether the client has closed the connection.
        gone: Whether the replica has noticed the closed connection.
        held: Number of permits that the call holds.
        started: Number of texts that were put into a batch.
        done: Number of texts that were computed.
    """

    __slots__ = ("answered", "cancelled", "done", "gone", "held", "started", "tokens")

    def __init__(self, tokens: tuple[int, ...], answered: Callable[[int], None]) -> None:
        self.tokens = tokens
        self.answered = answered
        self.cancelled = self.gone = False
        self.held = self.started = self.done = 0


class SimBatch:
    """Texts that are computed together.

    Attributes:
        parts: Calls, each with its number of texts in this batch.
        tokens: Tokens of all texts.
        work: Tokens that are computed, padding included.
        ends_at: Time of the end, once the batch runs.
    """

    __slots__ = ("ends_at", "parts", "tokens", "work")

    def __init__(self, parts: list[tuple[SimCall, int]], tokens: int, work: int) -> None:
        self.parts = parts
        self.tokens = tokens
        self.work = work
        self.ends_at = 0.0


class SimReplica:
    """A modelled TEI server.

    Args:
        clock: Clock of the simulation.
        cost: Cost of a batch.
        slowness: Factor on the time of every batch.
        permits: Maximum number of texts in progress at once.
        ahead: Whether the next batch is formed while one runs, as in TEI.

    Attributes:
        tokens: Tokens of all batches that have started.
        work: Tokens of all batches that have started, padding included.
    """

    def __init__(
        self, clock: Clock, cost: BatchCost, *, slowness: float = 1.0, permits: int = PERMITS, ahead: bool = True
    ) -> None:
        self._clock = clock
        self._cost = cost
        self._slowness = slowness
        self._permits = permits
        self._ahead = ahead
        self._used = 0
        self._queue: deque[SimCall] = deque()
        self._running: SimBatch | None = None
        self._formed: SimBatch | None = None
        self._stopped_until = self._down_until = self._full_until = 0.0
        self._coming = 0  # tokens of calls that were sent and have not arrived
        self.tokens = 0
        self.work = 0

    # calls of clients

    def send(self, call: SimCall) -> None:
        """Send a client's request, which arrives after the network delay."""
        self._coming += sum(call.tokens)
        self._clock.at(self._clock.now + NETWORK_S, lambda: self._arrive(call))

    def seconds_until(self, tokens: int) -> float:
        """Return the seconds after which a new call of one text would be computed, if nothing else were sent.

        The answer is exact where the queue fits into one batch, nothing is padded, and no fault occurs.
        """
        queued = sum(sum(call.tokens[call.started :]) for call in self._queue) + self._coming + tokens
        seconds = NETWORK_S
        if self._running is not None:
            seconds = max(NETWORK_S, self._running.ends_at - self._clock.now)
            if self._formed is not None:
                seconds += self._slowness * (self._cost.a_s + self._cost.b_s * self._formed.work)
        batches = -(-queued // self._cost.batch_tokens)
        return seconds + self._slowness * (self._cost.a_s * batches + self._cost.b_s * queued)

    def cancel(self, call: SimCall) -> None:
        """Close a client's connection; texts that are already in a batch are still computed."""
        call.cancelled = True
        self._clock.at(self._clock.now + NETWORK_S, lambda: self._drop(call))

    # faults

    def stop(self, seconds: float) -> None:
        """Stand still, as after SIGSTOP: nothing is accepted, and the running batch ends later by the same time."""
        now = self._clock.now
        stopped_until = max(self._stopped_until, now + seconds)
        lost = stopped_until - max(self._stopped_until, now)
        self._stopped_until = stopped_until
        if self._running is not None:
            self._running.ends_at += lost
            self._await_end(self._running)
        self._clock.at(stopped_until, self._advance)

    def crash(self, away_s: float) -> None:
        """Crash: connections break, the queue is lost, and nothing listens for some time."""
        self._down_until = self._clock.now + away_s
        batches = [batch for batch in (self._running, self._formed) if batch is not None]
        under_way = [call for batch in batches for call, _ in batch.parts] + list(self._queue)
        self._running = self._formed = None
        self._queue.clear()
        self._used = 0
        for call in dict.fromkeys(under_way):
            call.held = 0
            self._answer(call, RESET)

    def throttle(self, seconds: float) -> None:
        """Answer 429 to every request for some time."""
        self._full_until = self._clock.now + seconds

    # computation

    def _arrive(self, call: SimCall) -> None:
        self._coming -= sum(call.tokens)
        self._receive(call)

    def _receive(self, call: SimCall) -> None:
        now = self._clock.now
        if now < self._down_until:
            self._answer(call, REFUSED)
        elif now < self._stopped_until:
            self._clock.at(self._stopped_until, lambda: self._receive(call))
        elif now < self._full_until or self._used + len(call.tokens) > self._permits:
            self._answer(call, THROTTLED)
        elif not call.cancelled:
            call.held = len(call.tokens)
            self._used += call.held
            self._queue.append(call)
            self._advance()

    def _drop(self, call: SimCall) -> None:
        call.gone = True
        self._used -= call.held
        call.held = 0

    def _advance(self) -> None:
        """Start and form batches as far as possible now."""
        if self._clock.now < self._stopped_until:
            return
        if self._running is None:
            batch, self._formed = self._formed or self._form(), None
            if batch is None:
                return
            self._running = batch
            self.tokens += batch.tokens
            self.work += batch.work
            batch.ends_at = self._clock.now + self._slowness * (self._cost.a_s + self._cost.b_s * batch.work)
            self._await_end(batch)
        if self._ahead and self._formed is None:
            self._formed = self._form()

    def _form(self) -> SimBatch | None:
        """Form a batch from the queue, of at least one text; None if the queue is empty."""
        padded, most = self._cost.padded, self._cost.batch_tokens
        parts: list[tuple[SimCall, int]] = []
        texts = total = longest = 0
        while self._queue:
            call = self._queue[0]
            item = call.started
            while item < len(call.tokens) and not call.gone:
                tokens = call.tokens[item]
                wider = max(longest, tokens)
                if texts and (wider * (texts + 1) if padded else total + tokens) > most:
                    break
                longest = wider
                total += tokens
                texts += 1
                item += 1
            if item > call.started:
                parts.append((call, item - call.started))
                call.started = item
            if item < len(call.tokens) and not call.gone:
                break
            self._queue.popleft()
        return SimBatch(parts, total, self._cost.work(texts, total, longest)) if parts else None

    def _await_end(self, batch: SimBatch) -> None:
        ends_at = batch.ends_at

        def end() -> None:
            if batch is self._running and batch.ends_at == ends_at:
                self._end(batch)

        self._clock.at(ends_at, end)

    def _end(self, batch: SimBatch) -> None:
        self._running = None
        for call, texts in batch.parts:
            if call.held:
                call.held -= texts
                self._used -= texts
            call.done += texts
            if call.done == len(call.tokens):
                self._answer(call, OK)
        self._advance()

    def _answer(self, call: SimCall, status: int) -> None:
        self._clock.at(self._clock.now + NETWORK_S, lambda: None if call.cancelled else call.answered(status))
