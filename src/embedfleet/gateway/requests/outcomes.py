"""Outcomes of attempts: they are reported to the dispatcher, counted and logged, and its commands are executed."""

import asyncio
import logging
from typing import Final

from typing_extensions import override

from embedfleet.dialects.error_body import is_model_mismatch
from embedfleet.errors import Malformed, Refused, Reset, Starved, TimedOut, UpstreamError
from embedfleet.gateway.dispatch.commands import Failure
from embedfleet.gateway.dispatch.dispatcher import TROUBLE, Dispatcher
from embedfleet.gateway.dispatch.request import Request
from embedfleet.gateway.replica_log import ReplicaLog
from embedfleet.gateway.requests.attempt import Attempt, Outcomes
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.gateway.requests.executor import Executor
from embedfleet.gateway.upstream.connection_pools import ConnectionPools
from embedfleet.probe.process_watch import ProcessWatch

log = logging.getLogger(__name__)

_FAILED_INPUT: Final = 424
_REFUSED_INPUT: Final = 422
_DEATH_S: Final = 0.05  # seconds within which all connections of a dead process have ended

FAILURES: dict[type[UpstreamError], Failure] = {
    Refused: Failure.REFUSED,
    Reset: Failure.RESET,
    Malformed: Failure.MALFORMED,
    TimedOut: Failure.TIMED_OUT,
    Starved: Failure.STARVED,
}
"""Failure for each error of a connection."""


class ReplicaOutcomes(Outcomes):
    """Reports the outcomes of attempts to the dispatcher.

    Args:
        dispatcher: Dispatcher of the service.
        executor: Executor of its commands.
        connections: Connections to the replicas.
        context: Counters, clock and ids that all requests share.
        replica_log: Log lines about replicas.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        executor: Executor,
        connections: ConnectionPools,
        context: RequestContext,
        replica_log: ReplicaLog,
    ) -> None:
        self.now = context.now
        self._dispatcher = dispatcher
        self._executor = executor
        self._connections = connections
        self._counters = context.counters
        self._replica_log = replica_log

    @override
    def replied(self, attempt: Attempt, now: float) -> None:
        chunk, head, sending = attempt.chunk, attempt.head, attempt.sending
        status = head.status
        if status == _FAILED_INPUT and is_model_mismatch(attempt.body):
            status = _REFUSED_INPUT  # the input does not suit the model, so no replica would do better
        commands = self._dispatcher.answered(chunk, attempt.replica, status, now, head.tokens)
        if commands is None:
            sending.delivery.relay(chunk, attempt, now)
            return
        if status in TROUBLE:
            self._note_failure(attempt, f"status {status}")
        sending.reply = attempt
        self._executor.execute(commands)
        sending.reply = None  # the attempt and the sending refer to each other: this breaks the cycle

    @override
    def failed(self, attempt: Attempt, error: UpstreamError) -> None:
        pool = self._connections.by_name.get(attempt.replica.id)
        if isinstance(error, Reset) and pool is not None and pool.watch.sees_it:
            # The death of a process ends all of its connections, but not all at once.
            asyncio.get_running_loop().call_later(_DEATH_S, self._broken, attempt, error, pool.watch)
        else:
            self._failed(attempt, FAILURES[type(error)], error)

    @override
    def broke(self, request: Request, error: Exception) -> None:
        self._executor.broke(request, error)

    def note_shortage(self, error: UpstreamError) -> None:
        """Count and log a connection that could not be made because the gateway lacked resources."""
        self._counters.add_starved()
        self._replica_log.shortage(error, self.now())

    def _broken(self, attempt: Attempt, error: UpstreamError, watch: ProcessWatch) -> None:
        """Handle a connection that ended a moment ago; meanwhile the watch shows whether the process ended too."""
        try:
            self._failed(attempt, Failure.BROKEN if watch.sees_it else Failure.RESET, error)
        except Exception as fault:  # noqa: BLE001 - `broke` logs it
            self.broke(attempt.chunk.request, fault)

    def _failed(self, attempt: Attempt, failure: Failure, error: UpstreamError) -> None:
        if not attempt.sending.is_under_way(attempt):  # the attempt was cancelled meanwhile
            return
        attempt.sending.end(attempt)
        name = attempt.replica.id
        if failure is Failure.STARVED:
            self.note_shortage(error)
        else:
            self._note_failure(attempt, failure.value)
            log.warning("replica %s failed a request: %s", name, error, extra={"replica": name})
        convicted = self._dispatcher.quarantine.convicted
        self._executor.execute(self._dispatcher.failed(attempt.chunk, attempt.replica, failure, self.now()))
        if self._dispatcher.quarantine.convicted > convicted:
            self._replica_log.conviction(name, attempt.sending.delivery.request_id)

    def _note_failure(self, attempt: Attempt, kind: str) -> None:
        attempt.sending.failure = kind
        self._counters.add_failure(attempt.replica.id, kind)
