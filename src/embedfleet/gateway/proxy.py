"""Between sockets and the dispatcher: tells it what happens, does what it says."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from math import inf
from typing import Final

from embedfleet.dialects.error_body import is_model_mismatch
from embedfleet.dialects.request_texts import read_texts
from embedfleet.errors import RequestError, Reset, ServingError, Starved, UpstreamError, Validation, WrongHeader
from embedfleet.gateway.counters import Tally
from embedfleet.gateway.dispatch.command import (
    Cancel,
    Command,
    Failure,
    Forget,
    Join,
    OfRequest,
    Probe,
    Refuse,
    Relay,
    Send,
    Separate,
    request_of,
)
from embedfleet.gateway.dispatch.dispatcher import TROUBLE, Dispatcher
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Abilities
from embedfleet.gateway.dispatch.request import Request, is_online
from embedfleet.gateway.replica_log import Notices
from embedfleet.gateway.requests.attempt import FAILURES, Asked, AskedRequest, Attempt, Desk, give_up
from embedfleet.gateway.requests.client_request import Flight
from embedfleet.gateway.requests.coalesced_request import Gathering
from embedfleet.gateway.requests.tokenless import Examiner, Witness
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.gateway.timer import Rounds
from embedfleet.gateway.upstream.connection_pools import Pools
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.gateway.upstream.transport import Pool
from embedfleet.http.exchange import Exchange
from embedfleet.metrics import Registry
from embedfleet.probe.process_watch import ProcessWatch
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_FAILED_INPUT: Final = 424
_REFUSED_INPUT: Final = 422
_DEATH_S: Final = 0.05  # in which all connections of a process that died have ended
_GATHERED_BYTES: Final = 8192  # a body up to this may go together with others
_BODY_SHARE = 0.75  # of what a replica takes, that a part's texts may come to: the rest is for what frames them


class Proxy(Desk):
    """One service's requests and the replicas that answer them.

    Args:
        settings: of the gateway.
        registry: of the gateway's metrics.
        probe: called with an endpoint when the dispatcher wants to know whether it works; it must end in `probed`.

    Attributes:
        own_path: of the route that is the model's own, which ``/`` is an alias of; empty before it is known.
    """

    def __init__(self, settings: GatewaySettings, registry: Registry, probe: Callable[[Endpoint], None]) -> None:
        self.dispatcher = Dispatcher(settings.dispatch)
        self.endpoints: dict[str, Endpoint] = {}
        self.tally = Tally(registry)
        self.access_log = settings.access_log
        self.own_path = ""
        self._settings = settings
        self._probe = probe
        self._pools = Pools(settings.hold_bytes, settings.response_timeout_s)
        self._notices = Notices(settings.dispatch.quarantine_s)
        self._input_tokens = Abilities().input_tokens
        self._most_texts = settings.request_texts
        self._gathering = Gathering() if settings.coalesce else None
        self._examiner = Examiner(self, self._witnesses)
        self._commands: deque[Command] = deque()
        self._is_executing = False
        self._numbers = count(1)
        self._id_prefix = os.urandom(6).hex().encode()
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._rounds = Rounds(self._go_round, self._ring, self._stood_still)

    def start(self) -> None:
        """Begin with the replicas of the settings."""
        self.set_members(self._settings.replicas)
        self._rounds.start()

    def stop(self) -> None:
        """Close what is open to replicas."""
        self._rounds.stop()
        self._examiner.stop()
        self._pools.close()

    # replicas

    def set_members(self, endpoints: tuple[Endpoint, ...]) -> None:
        """These are the replicas from now on; one whose address changed has to prove itself again."""
        for endpoint in endpoints:
            if self._pools.provide(endpoint, partial(self._doubt, endpoint.id)):
                self.dispatcher.distrust(endpoint.id, f"moved to {endpoint.url}")
            self.endpoints[endpoint.id] = endpoint
        self.execute(self.dispatcher.set_members([endpoint.id for endpoint in endpoints], self.now()))

    def drain(self, name: str) -> None:
        """Send a replica nothing more until `undrain`; what it has it finishes.

        Raises:
            KeyError: there is no such replica.
        """
        self.execute(self.dispatcher.drain(name))
        self._note_states()

    def undrain(self, name: str) -> None:
        """A replica that was drained is wanted back.

        Raises:
            KeyError: there is no such replica.
        """
        self.execute(self.dispatcher.undrain(name, self.now()))

    def pool(self, name: str) -> Pool | None:
        """The connections to a replica; None if there is no such replica."""
        return self._pools.by_name.get(name)

    def change_model(self, reasons: Mapping[str, str]) -> None:
        """The pool's model is another now, see `Dispatcher.change_model`."""
        self._examiner.forget()
        self.execute(self.dispatcher.change_model(reasons, self.now()))
        self._note_states()

    def probed(self, name: str, reason: str, abilities: Abilities | None = None, cost: Cost | None = None) -> None:
        """A probe came back, see `Dispatcher.probed`."""
        self.tally.probed(name, good=not reason)
        if abilities is not None:
            abilities = replace(abilities, body_bytes=int(_BODY_SHARE * self._settings.replica_body_bytes))
        pool = self._pools.by_name.get(name)
        if pool is not None and not reason:
            pool.trust()
        self.execute(self.dispatcher.probed(name, reason, self.now(), abilities, cost))
        if pool is not None and reason:
            pool.turn_away(reason)
        self._input_tokens = min(
            (replica.abilities.input_tokens for replica in self.dispatcher.serving), default=Abilities().input_tokens
        )
        self._note_states()

    def unprobed(self, name: str, error: Starved) -> None:
        """A probe could not be made."""
        self._note_shortage(error)
        self.execute(self.dispatcher.unprobed(name, self.now()))

    # requests

    def handle(self, exchange: Exchange) -> None:
        """Take a client's request."""
        head = exchange.head
        fields = head.note
        if not isinstance(fields, RequestFields):
            fields = head.note = RequestFields(head.method, head.target, exchange.path, head.headers)
        if self._gathering is None or not fields.gathers or len(exchange.body) > _GATHERED_BYTES:
            self.take_alone(exchange, self.now())
        elif self._gathering.add(exchange):
            self._loop.call_soon(self._take_gathered)

    def take(self, request: AskedRequest, now: float) -> None:
        """Let the dispatcher have a request."""
        try:
            replica = self.dispatcher.assign(request, now)
            if replica is not None:
                request.send(replica, self._pools.by_name[replica.id], now)
            else:
                self.execute(self.dispatcher.arrived(request, now))
        except Exception as error:  # noqa: BLE001 - it is logged there
            self.broke(request, error)

    def take_alone(self, exchange: Exchange, now: float) -> None:
        """See `Desk`."""
        try:
            flight = self.flight(exchange, now)
            if flight.refusal is not None:
                flight.refuse(flight.refusal)
                return
            texts = flight.asked_texts
            doubts = texts.maybe_tokenless() if texts is not None else None
            if doubts and self.dispatcher.serving:
                self._examiner.examine(flight, doubts)
                return
        except Exception as error:  # noqa: BLE001 - it is logged there
            give_up(exchange, error)
            return
        self.take(flight, now)

    def execute(self, commands: list[Command]) -> None:
        """Do what the dispatcher says; what goes wrong with one command is none of the others' business.

        To do one may be an event, of which more follow. They wait their turn: they may cancel what is yet to be sent.
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
        if self.dispatcher.due < self._rounds.alarm_at:
            self._rounds.set_alarm(self.dispatcher.due)

    def _do(self, command: Command) -> None:
        if isinstance(command, Probe):
            self._probe(self.endpoints[command.replica.id])
        elif isinstance(command, Forget):
            self._forget(command.replica.id)
        else:
            try:
                self._obey(command)
            except Exception as error:  # noqa: BLE001 - it is logged there
                self.broke(request_of(command), error)

    def broke(self, request: Request, error: Exception) -> None:
        """See `Desk`: afterwards nothing of the request is anywhere, whatever had become of it."""
        log.error("the gateway failed on a request", exc_info=error)
        assert isinstance(request, AskedRequest), "all are, here"
        self.left(request)
        try:
            request.fault(self.now())
        except Exception:
            log.exception("nor can its client be told")

    def _obey(self, command: OfRequest) -> None:
        """Do what is to be done about a request."""
        match command:
            case Send(Asked() as chunk, replica):
                self.tally.sent(chunk.tokens)
                chunk.send(replica, self._pools.by_name[replica.id], self.now())
            case Relay(Asked() as chunk):
                chunk.relay(self.now())
            case Join(Flight() as flight):
                flight.join()
            case Cancel(Asked() as chunk, replica):
                chunk.cancel(replica)
            case Refuse(AskedRequest() as request, error, reason):
                request.refuse(error, reason)
            case Separate(AskedRequest() as request):
                request.separate(self.now())

    def request_id(self) -> bytes:
        """An id that this process has not given before, and no other process gives."""
        return b"%b-%x" % (self._id_prefix, next(self._numbers))

    # what attempts and flights tell

    def answered(self, attempt: Attempt, now: float) -> None:
        """A replica's reply is there, or has begun."""
        asked, head = attempt.asked, attempt.head
        status = head.status
        if status == _FAILED_INPUT and is_model_mismatch(attempt.body):
            status = _REFUSED_INPUT  # no replica is to blame for it, and none would do better
        commands = self.dispatcher.answered(asked, attempt.replica, status, now, head.tokens)
        if commands is None:
            asked.relay(now)
            return
        if status in TROUBLE:
            self._note_failure(attempt, f"status {status}")
        self.execute(commands)
        if asked.request.over:
            asked.reply = None  # its client left while it was on trial, and they refer to each other

    def failed(self, attempt: Attempt, error: UpstreamError) -> None:
        """A replica gave no answer. A process that died tells it on all of its connections, but not on all at once."""
        pool = self._pools.by_name.get(attempt.replica.id)
        if isinstance(error, Reset) and pool is not None and pool.watch.sees_it:
            self._loop.call_later(_DEATH_S, self._broken, attempt, error, pool.watch)
        else:
            self._failed(attempt, FAILURES[type(error)], error)

    def _broken(self, attempt: Attempt, error: UpstreamError, watch: ProcessWatch) -> None:
        """A connection ended a moment ago: by now it is known whether its process did."""
        try:
            self._failed(attempt, Failure.BROKEN if watch.sees_it else Failure.RESET, error)
        except Exception as fault:  # noqa: BLE001 - it is logged there
            self.broke(attempt.asked.request, fault)

    def _failed(self, attempt: Attempt, failure: Failure, error: UpstreamError) -> None:
        if attempt not in attempt.asked.attempts:  # nobody wants it any more
            return
        attempt.asked.attempts.remove(attempt)
        if failure is Failure.STARVED:
            self._note_shortage(error)
        else:
            self._note_failure(attempt, failure.value)
            name = attempt.replica.id
            log.warning("replica %s failed a request: %s", name, error, extra={"replica": name})
        convicted = self.dispatcher.quarantine.convicted
        self.execute(self.dispatcher.failed(attempt.asked, attempt.replica, failure, self.now()))
        if self.dispatcher.quarantine.convicted > convicted:
            self._notices.conviction(attempt)

    def left(self, request: AskedRequest) -> None:
        """Nobody waits for a request any more."""
        try:
            self.execute(self.dispatcher.left(request, self.now()))
        except Exception:
            log.exception("the gateway failed to let a request go")

    def refuse_alone(self, exchange: Exchange, now: float, error: RequestError | ServingError, reason: str) -> None:
        """See `Desk`."""
        try:
            self.flight(exchange, now).refuse(error, reason)
        except Exception as fault:  # noqa: BLE001 - it is logged there
            give_up(exchange, fault)

    def flight(self, exchange: Exchange, now: float) -> Flight:
        """A client's request that came then, on its own."""
        fields = exchange.head.note
        assert isinstance(fields, RequestFields), "`handle` has read the head"
        texts, refusal = None, None
        if fields.method == b"POST":
            try:
                texts = read_texts(fields.path, fields.content_type, exchange.body, self._most_texts, self.own_path)
            except Validation as error:
                refusal = error.with_traceback(None)  # it refers to this frame, which has the flight: else a cycle
        estimate, most = self.dispatcher.estimate.tokens, self._input_tokens
        costs = [estimate(len(exchange.body))] if texts is None else texts.costs(estimate)
        tokens = sum(costs)
        if tokens > most:
            costs = [min(cost, most) for cost in costs]
            tokens = sum(costs)
        online = fields.online
        if online is None:
            online = is_online(len(costs), tokens, rerank=texts is not None and texts.is_rerank)
        limits = self._settings.dispatch
        timeout_s = fields.timeout_s or (limits.online_deadline_s if online else limits.bulk_deadline_s)
        flight = Flight(
            self, exchange, fields, texts, costs, tokens=tokens, online=online, now=now, timeout_s=timeout_s
        )
        exchange.on_gone = flight.gone
        if fields.fault:
            flight.refusal = WrongHeader(fields.fault)
        elif refusal is not None:
            flight.refusal = refusal
        return flight

    # within

    def _take_gathered(self) -> None:
        """What came in one turn of the event loop, together where that may be."""
        assert self._gathering is not None, "only what is gathered is taken"
        now, serving = self.now(), self.dispatcher.serving
        alone, groups = self._gathering.take(self.dispatcher.estimate.tokens)
        cost = serving[0].pace.cost if serving else Cost()
        for whole in groups:
            for group in whole.cut(cost, self.dispatcher.batch_texts):
                timeout_s = group.fields.timeout_s or self._settings.dispatch.online_deadline_s
                bundle = group.bundle(self, now, timeout_s)
                if bundle is None:
                    alone += group.exchanges
                else:
                    self.take(bundle, now)
        for exchange in alone:
            if exchange.gone:
                self.tally.left()
            else:
                self.take_alone(exchange, now)

    def _witnesses(self) -> list[Witness]:
        """Who can be asked about a text, the least loaded first."""
        now = self.now()
        serving = sorted(self.dispatcher.serving, key=lambda one: one.eta(now))
        return [Witness(self.endpoints[one.id].url, one.abilities.batch_texts) for one in serving]

    def _doubt(self, name: str) -> None:
        """Whoever answers for a replica may be another process."""
        self.execute(self.dispatcher.doubt(name, self.now()))
        self._note_states()

    def _note_failure(self, attempt: Attempt, kind: str) -> None:
        attempt.asked.failure = kind
        self.tally.failed(attempt.replica.id, kind)

    def _note_states(self) -> None:
        self._notices.states(self.dispatcher.replicas.values())

    def _note_shortage(self, error: UpstreamError) -> None:
        self.tally.starved()
        self._notices.shortage(error, self.now())

    def _forget(self, name: str) -> None:
        self._pools.retire(name)
        self.endpoints.pop(name)
        self._notices.gone(name)
        self.tally.forget(name)

    def _go_round(self, now: float) -> None:
        """To be done now and then."""
        self._pools.sweep(now)
        self._pass_time(now)
        self._ask_again(now)
        self._note_states()

    def _ask_again(self, now: float) -> None:
        """The silence of a connection is not that of its replica: what hangs on one goes there on a new one."""
        for pool in self._pools.by_name.values():
            for call in pool.unheard():
                silent = call.connection
                if silent is None or not isinstance(call, Attempt):
                    continue
                if self.dispatcher.asks_again(call.asked, call.replica, silent.idle_since, now):
                    self.tally.hedged()
                    pool.renew(call)

    def _ring(self, now: float) -> None:
        """The dispatcher wanted it then."""
        if self.dispatcher.due <= now:
            self._pass_time(now)
        elif self.dispatcher.due < inf:
            self._rounds.set_alarm(self.dispatcher.due)

    def _pass_time(self, now: float) -> None:
        try:
            commands = self.dispatcher.tick(now)
        except Exception:
            log.exception("the gateway failed to see what time brings")
        else:
            self.execute(commands)

    def _stood_still(self, seconds: float) -> None:
        """In which nothing was read: that is no replica's silence."""
        log.warning("the gateway stood still for %.1f s", seconds)
        self._pools.stood_still(seconds)
        self.dispatcher.stood_still(seconds)
