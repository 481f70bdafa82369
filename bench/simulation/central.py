"""A compact reference: one queue for all replicas, requests split into chunks, online requests first.

It shows what late binding, splitting and priority achieve alone, without our dispatcher's timing, reserve or learning.
It knows the tokens of every text exactly and does not handle failures.
"""

from collections import deque
from collections.abc import Sequence

from embedfleet.load.workload import Arrival
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.ledger import Ledger
from embedfleet.simulation.replica import OK, SimCall, SimReplica

CHUNK_TOKENS = 4096
# Maximum number of tokens that a replica may have at a time, in full batches.
_WINDOW_BATCHES = 1


class _Work:
    """A request that is being split."""

    __slots__ = ("arrival", "taken", "unanswered")

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.taken = 0
        self.unanswered = len(arrival.tokens)

    def split_off(self, most: int) -> tuple[int, ...]:
        """Take the next texts, with at most ``most`` tokens but at least one text.

        Returns:
            Tokens of each text.
        """
        tokens, start, total = self.arrival.tokens, self.taken, 0
        while self.taken < len(tokens) and (self.taken == start or total + tokens[self.taken] <= most):
            total += tokens[self.taken]
            self.taken += 1
        return tokens[start : self.taken]


class Central:
    """The reference as a front door."""

    def __init__(self, clock: Clock, replicas: Sequence[SimReplica], ledger: Ledger, cost: BatchCost) -> None:
        self._clock = clock
        self._replicas = replicas
        self._outstanding = [0] * len(replicas)
        self._ledger = ledger
        self._window = _WINDOW_BATCHES * cost.batch_tokens
        self._online: deque[_Work] = deque()
        self._bulk: deque[_Work] = deque()

    def arrive(self, arrival: Arrival) -> None:
        """Take a client's request."""
        (self._bulk if arrival.kind == "bulk" else self._online).append(_Work(arrival))
        self._dispatch()

    def _dispatch(self) -> None:
        while queue := self._online or self._bulk:
            number = min(range(len(self._replicas)), key=self._outstanding.__getitem__)
            if self._outstanding[number] and self._outstanding[number] + CHUNK_TOKENS > self._window:
                return
            work = queue[0]
            self._send(number, work, work.split_off(CHUNK_TOKENS))
            if work.taken == len(work.arrival.tokens):
                queue.popleft()

    def _send(self, number: int, work: _Work, chunk: tuple[int, ...]) -> None:
        tokens = sum(chunk)

        def ended(status: int) -> None:
            assert status == OK, f"the reference does not handle failures, got {status}"
            self._outstanding[number] -= tokens
            work.unanswered -= len(chunk)
            if not work.unanswered:
                self._ledger.finish(work.arrival, self._clock.now)
            self._dispatch()

        self._outstanding[number] += tokens
        self._replicas[number].send(SimCall(chunk, ended))
