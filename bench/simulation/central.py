"""A compact reference: one queue before all replicas, requests cut into chunks, online ones first.

What late binding, cutting and priority reach by themselves, without the dispatcher's timing, reserve or learning. It
knows every text's tokens exactly, and nothing of failures.
"""

from collections import deque
from collections.abc import Sequence

from bench.simulation.clock import Clock
from bench.simulation.door import Ledger
from bench.simulation.replica import OK, SimCall, SimReplica
from bench.workload import Arrival, Cost

CHUNK_TOKENS = 4096
# Tokens that a replica may have, in full batches.
_WINDOW_BATCHES = 1


class _Work:
    """A request that is being cut."""

    __slots__ = ("arrival", "taken", "unanswered")

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.taken = 0
        self.unanswered = len(arrival.tokens)

    def cut(self, most: int) -> tuple[int, ...]:
        """The next texts, up to so many tokens; at least one."""
        tokens, start, total = self.arrival.tokens, self.taken, 0
        while self.taken < len(tokens) and (self.taken == start or total + tokens[self.taken] <= most):
            total += tokens[self.taken]
            self.taken += 1
        return tokens[start : self.taken]


class Central:
    """See `Door` and the module."""

    def __init__(self, clock: Clock, replicas: Sequence[SimReplica], ledger: Ledger, cost: Cost) -> None:
        self._clock = clock
        self._replicas = replicas
        self._outstanding = [0] * len(replicas)
        self._ledger = ledger
        self._window = _WINDOW_BATCHES * cost.batch_tokens
        self._online: deque[_Work] = deque()
        self._bulk: deque[_Work] = deque()

    def arrive(self, arrival: Arrival) -> None:
        """See `Door`."""
        (self._bulk if arrival.kind == "bulk" else self._online).append(_Work(arrival))
        self._serve()

    def _serve(self) -> None:
        while queue := self._online or self._bulk:
            number = min(range(len(self._replicas)), key=self._outstanding.__getitem__)
            if self._outstanding[number] and self._outstanding[number] + CHUNK_TOKENS > self._window:
                return
            work = queue[0]
            self._send(number, work, work.cut(CHUNK_TOKENS))
            if work.taken == len(work.arrival.tokens):
                queue.popleft()

    def _send(self, number: int, work: _Work, chunk: tuple[int, ...]) -> None:
        tokens = sum(chunk)

        def ended(status: int) -> None:
            assert status == OK, f"the reference knows nothing of failures, got {status}"
            self._outstanding[number] -= tokens
            work.unanswered -= len(chunk)
            if not work.unanswered:
                self._ledger.finish(work.arrival, self._clock.now)
            self._serve()

        self._outstanding[number] += tokens
        self._replicas[number].send(SimCall(chunk, ended))
