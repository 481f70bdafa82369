"""The gateway in the simulation: its real dispatcher, driven by the virtual clock instead of sockets."""

import random
from collections.abc import Callable, Sequence
from math import inf

from typing_extensions import override

from embedfleet.gateway.dispatch import replica_speed
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Cancel, Command, Failure, Forget, Join, Probe, Refuse, Relay, Send
from embedfleet.gateway.dispatch.dispatcher import TICK_S, Dispatcher
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Handle, Request, SplitState, counts_as_online
from embedfleet.load.workload import Arrival
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.ledger import Ledger
from embedfleet.simulation.replica import OK, REFUSED, RESET, THROTTLED, SimCall, SimReplica

PROBE_TIMEOUT_S = 10.0
_PROBE = (1,)
_LEAST_TIMER_S = 1e-6
_FAILURES = {RESET: Failure.RESET, REFUSED: Failure.REFUSED}


class SimTexts(Handle):
    """The texts of an arrival, with estimated tokens.

    Args:
        arrival: Arrival of the request.
        estimates: Estimated tokens of each text.
    """

    def __init__(self, arrival: Arrival, estimates: list[int]) -> None:
        self.arrival = arrival
        self.estimates = estimates

    @property
    @override
    def fingerprints(self) -> Sequence[int]:
        return [hash((id(self), item)) for item in range(len(self.estimates))]

    @override
    def split(self, *, by_length: bool) -> SplitState:
        order: Sequence[int] = range(len(self.estimates))
        if by_length:
            order = sorted(order, key=lambda item: -self.estimates[item])
        return SplitState(self.estimates, [4 * cost for cost in self.estimates], order)


class SimGateway:
    """A front door that runs the gateway's dispatcher.

    Args:
        clock: Clock of the simulation.
        replicas: Replicas behind the gateway.
        ledger: Record of the arrivals' ends.
        limits: Limits of the dispatcher.
        cost: Batch cost of a replica, as a calibration would measure it.
        abilities: Limits of each replica, as its ``/info`` would state them.
        estimate_error: Error of the estimates of a text's tokens, as sigma of the logarithm.
    """

    def __init__(
        self,
        clock: Clock,
        replicas: Sequence[SimReplica],
        ledger: Ledger,
        limits: DispatchLimits,
        *,
        cost: BatchCost,
        abilities: Capabilities,
        estimate_error: float,
    ) -> None:
        self.dispatcher = Dispatcher(limits)
        self._clock = clock
        self._replicas = {str(number): replica for number, replica in enumerate(replicas)}
        self._ledger = ledger
        self._random = random.Random(11)  # noqa: S311 - errors of estimates, not secrets
        self._calls: dict[tuple[Chunk, Replica], SimCall] = {}
        self._due = inf
        self._abilities = abilities
        self._error = estimate_error
        self._cost = replica_speed.BatchCost(cost.a_s, cost.b_s)
        self._execute(self.dispatcher.set_members(list(self._replicas), 0.0))
        self._tick()

    def arrive(self, arrival: Arrival) -> None:
        """Dispatch a client's request."""
        now = self._clock.now
        request = self._request(arrival, now)
        replica = self.dispatcher.assign(request, now)
        if replica is not None:
            self._send(request, replica)
        else:
            self._execute(self.dispatcher.arrived(request, now))

    def _request(self, arrival: Arrival, now: float) -> Request:
        estimates = self._estimates(arrival.tokens)
        total = sum(estimates)
        return Request(
            SimTexts(arrival, estimates),
            tokens=total,
            texts=len(estimates),
            size_bytes=4 * total,
            is_online=counts_as_online(len(estimates), total, is_rerank=arrival.kind == "rerank"),
            now=now,
            timeout_s=1e9,
        )

    def _estimates(self, tokens: Sequence[int]) -> list[int]:
        return [max(1, round(count * self._random.lognormvariate(0, self._error))) for count in tokens]

    def _tick(self) -> None:
        self._execute(self.dispatcher.tick(self._clock.now))
        self._clock.at(self._clock.now + TICK_S, self._tick)

    def _wake(self) -> None:
        self._due = inf
        if self.dispatcher.due <= self._clock.now:
            self._execute(self.dispatcher.tick(self._clock.now))
        else:
            self._await_due()

    def _await_due(self) -> None:
        """Keep one timer for the dispatcher's due time; like a real one, it never fires at once."""
        if self.dispatcher.due < self._due:
            self._due = max(self.dispatcher.due, self._clock.now + _LEAST_TIMER_S)
            self._clock.at(self._due, self._wake)

    def _execute(self, commands: list[Command], status: int = OK) -> None:
        """Execute the dispatcher's commands.

        Args:
            commands: Commands in order.
            status: Status of a reply to relay.
        """
        for command in commands:
            match command:
                case Send(chunk, replica):
                    self._send(chunk, replica)
                case Cancel(chunk, replica):
                    call = self._calls.pop((chunk, replica))
                    self._replicas[replica.id].cancel(call)
                case Relay(chunk):
                    self._relay(self._arrival(chunk.request), status)
                case Join(request):
                    self._ledger.finish(self._arrival(request), self._clock.now)
                case Refuse(request, error, _):
                    self._ledger.refuse(self._arrival(request), error.status)
                case Probe(replica):
                    self._probe(replica)
                case Forget():
                    pass
        self._ledger.repeated_tokens = self.dispatcher.repeated_tokens
        self._await_due()

    def _relay(self, arrival: Arrival, status: int) -> None:
        if status == OK:
            self._ledger.finish(arrival, self._clock.now)
        else:
            self._ledger.refuse(arrival, status)

    @staticmethod
    def _arrival(request: Request) -> Arrival:
        assert isinstance(request.handle, SimTexts)
        return request.handle.arrival

    def _send(self, chunk: Chunk, replica: Replica) -> None:
        arrival = self._arrival(chunk.request)
        tokens = tuple(arrival.tokens[item] for item in chunk.items) if chunk.items else arrival.tokens
        call = self._calls[chunk, replica] = SimCall(tokens, self._answerer(chunk, replica, sum(tokens)))
        self._replicas[replica.id].send(call)

    def _answerer(self, chunk: Chunk, replica: Replica, tokens: int) -> Callable[[int], None]:
        def answered(status: int) -> None:
            now = self._clock.now
            del self._calls[chunk, replica]
            if status in _FAILURES:
                self._execute(self.dispatcher.failed(chunk, replica, _FAILURES[status], now))
                return
            commands = self.dispatcher.answered(chunk, replica, status, now, tokens)
            self._execute([Relay(chunk)] if commands is None else commands, status)

        return answered

    def _probe(self, replica: Replica) -> None:
        """Send a probe of one token; no answer within the time limit counts as a failure."""

        def found(reason: str) -> None:
            commands = self.dispatcher.probed(replica.id, reason, self._clock.now, self._abilities, self._cost)
            self._execute(commands)

        def answered(status: int) -> None:
            waiting.clear()
            found("" if status in {OK, THROTTLED} else "no answer")

        def timed_out() -> None:
            if waiting:
                self._replicas[replica.id].cancel(waiting.pop())
                found("no answer in time")

        waiting = [SimCall(_PROBE, answered)]
        self._replicas[replica.id].send(waiting[0])
        self._clock.at(self._clock.now + PROBE_TIMEOUT_S, timed_out)
