"""Execution of the dispatcher's commands."""

import logging
from collections import deque
from collections.abc import Callable
from typing import assert_never

from embedfleet.gateway.dispatch.commands import (
    Cancel,
    Command,
    Forget,
    Join,
    Probe,
    Refuse,
    Relay,
    RequestCommand,
    Send,
    Separate,
    request_of,
)
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.gateway.requests.attempt import Attempt, Outcomes, Sending
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.gateway.requests.delivery import delivery_of
from embedfleet.gateway.timer import Timer
from embedfleet.gateway.upstream.connection_pools import ConnectionPools

log = logging.getLogger(__name__)


class Executor:
    """Executes the dispatcher's commands: sends chunks, answers clients, starts probes.

    Args:
        dispatcher: Dispatcher whose commands are executed.
        connections: Connections to the replicas.
        context: Counters, clock and ids that all requests share.
        timer: Timer whose alarm is set to `Dispatcher.due`.
        probe: Function that starts a probe of a replica, by name.
        forget: Function that removes a drained replica, by name.
    """

    _outcomes: Outcomes

    def __init__(
        self,
        dispatcher: Dispatcher,
        connections: ConnectionPools,
        context: RequestContext,
        timer: Timer,
        *,
        probe: Callable[[str], None],
        forget: Callable[[str], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._connections = connections
        self._context = context
        self._timer = timer
        self._probe = probe
        self._forget = forget
        self._commands: deque[Command] = deque()
        self._is_executing = False

    def report_to(self, outcomes: Outcomes) -> None:
        """Set the receiver of attempts' outcomes, before the first attempt is sent."""
        self._outcomes = outcomes

    def execute(self, commands: list[Command]) -> None:
        """Execute commands; if one fails, the others are still executed.

        Executing a command may cause an event with further commands. These may cancel what the present commands send,
        so they are queued behind them.
        """
        self._commands.extend(commands)
        if self._is_executing:
            return
        self._is_executing = True
        try:
            while self._commands:
                self._do(self._commands.popleft())
        finally:
            self._is_executing = False
        if self._dispatcher.due < self._timer.alarm_at:
            self._timer.set_alarm(self._dispatcher.due)

    def send(self, chunk: Chunk, replica: Replica, now: float) -> None:
        """Send a chunk to a replica."""
        sending = chunk.sending
        if sending is None:  # the chunk is a new part
            sending = chunk.sending = Sending(delivery_of(chunk.request))
        assert isinstance(sending, Sending), "the gateway stores nothing else there"
        delivery = sending.delivery
        delivery.sent(chunk, replica.id, now)
        pool = self._connections.by_name[replica.id]
        data = delivery.wire(chunk, pool)
        if chunk.copy_id:
            self._context.counters.add_hedge()
        elif sending.failure:
            self._context.counters.add_retry(sending.failure)
        attempt = Attempt(self._outcomes, chunk, sending, replica)
        sending.begin(attempt)
        pool.send(attempt, data, now, is_head=delivery.is_head)

    def leave(self, request: Request) -> None:
        """Give up a request for which no client waits any more."""
        try:
            self.execute(self._dispatcher.left(request, self._context.now()))
        except Exception:
            log.exception("the gateway failed to give up a request")

    def broke(self, request: Request, error: Exception) -> None:
        """End a request on which the gateway's own code failed, and take all its chunks out of queues and replicas."""
        log.error("the gateway failed on a request", exc_info=error)
        self.leave(request)
        try:
            delivery_of(request).fault(request, self._context.now())
        except Exception:
            log.exception("the client of a failed request could not get an error either")

    def _do(self, command: Command) -> None:
        if isinstance(command, Probe):
            self._probe(command.replica.id)
        elif isinstance(command, Forget):
            self._forget(command.replica.id)
        else:
            try:
                self._do_for_request(command, self._context.now())
            except Exception as error:  # noqa: BLE001 - `broke` logs it
                self.broke(request_of(command), error)

    def _do_for_request(self, command: RequestCommand, now: float) -> None:
        match command:
            case Send(chunk, replica):
                self._context.counters.add_chunk(chunk.tokens)
                self.send(chunk, replica, now)
            case Cancel(chunk, replica):
                if isinstance(chunk.sending, Sending):  # otherwise its send failed
                    chunk.sending.cancel(replica)
            case Relay(chunk):
                assert isinstance(chunk.sending, Sending), "the gateway stores nothing else there"
                assert chunk.sending.reply is not None, "the reply has just arrived"
                delivery_of(chunk.request).relay(chunk, chunk.sending.reply, now)
            case Join(request):
                delivery_of(request).join(request, now)
            case Refuse(request, error, reason):
                delivery_of(request).refuse(request, error, reason, now)
            case Separate(request):
                delivery_of(request).separate(request, now)
            case _:
                assert_never(command)
