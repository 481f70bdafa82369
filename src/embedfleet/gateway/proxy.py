"""The life of a request: it arrives, is sent, is answered; the dispatcher says where, this does it."""

import asyncio
import logging
import os
from collections.abc import Callable
from itertools import count

from embedfleet.dialects.failure import render_failure
from embedfleet.errors import Malformed, Refused, Reset, ServingError, TimedOut, UpstreamError
from embedfleet.gateway.dispatcher import (
    THROTTLED,
    TROUBLE,
    Command,
    Dispatcher,
    Failure,
    Forget,
    Probe,
    Refuse,
    Relay,
    Request,
    Send,
)
from embedfleet.gateway.forwarding import RequestFields
from embedfleet.gateway.reply import ReplyHead
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.gateway.transport import Call, Pool
from embedfleet.http.exchange import Exchange
from embedfleet.metrics import Registry, Value
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)
access = logging.getLogger("embedfleet.access")

_TICK_S = 0.1
_FAILURES: dict[type[UpstreamError], Failure] = {
    Refused: Failure.REFUSED,
    Reset: Failure.RESET,
    Malformed: Failure.MALFORMED,
    TimedOut: Failure.TIMED_OUT,
}


class Proxy:
    """One service's requests and the replicas that answer them.

    Args:
        settings: of the gateway.
        registry: of the gateway's metrics.
        probe: called with an endpoint when the dispatcher wants to know whether it works; it must end in `probed`.
    """

    def __init__(self, settings: GatewaySettings, registry: Registry, probe: Callable[[Endpoint], None]) -> None:
        self.dispatcher = Dispatcher(settings.dispatch)
        self.endpoints: dict[str, Endpoint] = {}
        self._settings = settings
        self._registry = registry
        self._probe = probe
        self._pools: dict[str, Pool] = {}
        self._retiring: list[Pool] = []
        self._numbers = count(1)
        self._id_prefix = os.urandom(6).hex().encode()
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._access_log = settings.access_log
        self._timer: asyncio.TimerHandle | None = None
        self._request_seconds = registry["embedfleet_request_seconds"].histogram()
        self._answered: dict[int, Value] = {}  # by status
        self.queue_seconds = registry["embedfleet_queue_seconds"].histogram()

    def start(self) -> None:
        """Begin with the replicas of the settings."""
        self.set_members(self._settings.replicas)
        self._tick()

    def stop(self) -> None:
        """Close what is open to replicas."""
        if self._timer is not None:
            self._timer.cancel()
        for pool in self._pools.values():
            pool.close()

    def set_members(self, endpoints: tuple[Endpoint, ...]) -> None:
        """These are the replicas from now on; one whose address changed has to prove itself again."""
        hold_bytes, timeout_s = self._settings.hold_bytes, self._settings.response_timeout_s
        moved = []
        for endpoint in endpoints:
            known = self._pools.get(endpoint.id)
            if known is not None and known.url != endpoint.url:
                moved.append(endpoint)
                self._retire(known)
            if known is None or known.url != endpoint.url:
                self._pools[endpoint.id] = Pool(endpoint.url, hold_bytes=hold_bytes, timeout_s=timeout_s)
            self.endpoints[endpoint.id] = endpoint
        now = self._loop.time()
        self.execute(self.dispatcher.set_members([endpoint.id for endpoint in endpoints], now))
        for endpoint in moved:
            self.dispatcher.distrust(endpoint.id, f"moved to {endpoint.url}", now)

    def handle(self, exchange: Exchange) -> None:
        """Take a client's request."""
        now = self.now()
        flight = _Flight(self, exchange, now)
        exchange.on_gone = flight.gone
        replica = self.dispatcher.assign(flight, now)
        if replica is not None:
            flight.send(replica.id, self._pools[replica.id], now)
        else:
            self.execute(self.dispatcher.wait(flight))

    def probed(self, replica: str, reason: str) -> None:
        """A probe came back; ``reason`` is empty if the replica inferred."""
        outcome = "bad" if reason else "good"
        self._registry["embedfleet_probes_total"].value(replica, outcome).inc()
        known = self.dispatcher.replicas.get(replica)
        before = (known.state, known.reason) if known else None
        self.execute(self.dispatcher.probed(replica, reason, self._loop.time()))
        if known is not None and (known.state, known.reason) != before:
            why = f": {known.reason}" if known.reason else ""
            log.info("replica %s is %s%s", replica, known.state, why, extra={"replica": replica, "state": known.state})

    def execute(self, commands: list[Command]) -> None:
        """Do what the dispatcher says."""
        for command in commands:
            match command:
                case Send(_Flight() as flight, replica):
                    flight.send(replica, self._pools[replica], self.now())
                case Relay(_Flight() as flight):
                    flight.relay(self.now())
                case Refuse(_Flight() as flight, error, reason):
                    self._registry["embedfleet_shed_total"].value(reason).inc()
                    flight.refuse(error)
                case Probe():
                    self._probe(self.endpoints[command.replica])
                case Forget():
                    self._forget(command.replica)

    def request_id(self) -> bytes:
        """An id that this process has not given before, and no other process gives."""
        return b"%b-%x" % (self._id_prefix, next(self._numbers))

    def answered(self, flight: "_Flight", head: ReplyHead, now: float) -> None:
        """A replica's reply is there, or has begun."""
        commands = self.dispatcher.answered(flight, head.status, now, head.tokens)
        if commands is None:
            flight.relay(now)
            return
        if head.status in TROUBLE:
            self._note_failure(flight, f"status {head.status}")
        self.execute(commands)

    def failed(self, flight: "_Flight", error: UpstreamError) -> None:
        """A replica gave no answer."""
        failure = _FAILURES[type(error)]
        self._note_failure(flight, failure.value)
        log.warning("replica %s failed a request: %s", flight.at, error, extra={"replica": flight.at})
        self.execute(self.dispatcher.failed(flight, failure, self.now()))

    def left(self, flight: "_Flight") -> None:
        """A client is gone."""
        self._registry["embedfleet_client_gone_total"].value().inc()
        self.execute(self.dispatcher.left(flight, self.now()))

    def done(self, flight: "_Flight", status: int, now: float) -> None:
        """A request was answered."""
        elapsed = now - flight.arrived
        self._request_seconds.observe(elapsed)
        counter = self._answered.get(status)
        if counter is None:
            counter = self._answered[status] = self._registry["embedfleet_requests_total"].value(str(status))
        counter.value += 1
        if self._access_log:
            exchange = flight.exchange
            access.info(
                "%s %s %d %.1f ms %s",
                exchange.method.decode("latin-1"),
                exchange.path,
                status,
                elapsed * 1000,
                flight.at,
                extra={"request_id": flight.request_id.decode("latin-1"), "status": status, "replica": flight.at},
            )

    def measure(self) -> None:
        """Bring the gauges up to date."""
        registry, dispatcher = self._registry, self.dispatcher
        registry["embedfleet_queue_requests"].value().set(dispatcher.queued)
        registry["embedfleet_queue_tokens"].value().set(dispatcher.queued_tokens)
        for replica in dispatcher.replicas.values():
            registry["embedfleet_replica_state"].forget(replica.id)
            registry["embedfleet_replica_state"].value(replica.id, replica.state).set(1)
            registry["embedfleet_replica_requests"].value(replica.id).set(replica.requests)
            registry["embedfleet_replica_tokens"].value(replica.id).set(replica.tokens)

    def retried(self, reason: str) -> None:
        """A request is sent once more."""
        self._registry["embedfleet_retries_total"].value(reason).inc()

    def _note_failure(self, flight: "_Flight", kind: str) -> None:
        flight.failure = kind
        self._registry["embedfleet_replica_failures_total"].value(flight.at, kind).inc()

    def _forget(self, replica: str) -> None:
        self._retire(self._pools.pop(replica))
        del self.endpoints[replica]
        for name in ("state", "requests", "tokens"):
            self._registry[f"embedfleet_replica_{name}"].forget(replica)
        log.info("replica %s has drained", replica, extra={"replica": replica})

    def _retire(self, pool: Pool) -> None:
        """Close a pool once its calls are done."""
        pool.close()
        self._retiring.append(pool)

    def _tick(self) -> None:
        now = self._loop.time()
        self._retiring = [pool for pool in self._retiring if pool.busy]
        for pool in [*self._pools.values(), *self._retiring]:
            pool.sweep(now)
        self.execute(self.dispatcher.tick(now))
        self._timer = self._loop.call_later(_TICK_S, self._tick)


class _Flight(Request, Call):
    """One client's request until it is answered: what the dispatcher decides upon and replicas are asked.

    Attributes:
        exchange: with the client.
        request_id: the client's, else ours.
        at: the replica that it was sent to last; empty before the first.
        failure: of the last replica that failed it.
    """

    failure = ""
    _head: ReplyHead | None = None
    _body = b""

    def __init__(self, proxy: Proxy, exchange: Exchange, now: float) -> None:
        Request.__init__(self, len(exchange.body), now)
        self._proxy = proxy
        self.exchange = exchange
        self.at = ""
        head = exchange.head
        fields = head.note
        if not isinstance(fields, RequestFields):
            fields = head.note = RequestFields(head.target, head.headers)
        self._fields = fields
        self.request_id = fields.request_id or proxy.request_id()

    # what the dispatcher has decided

    def send(self, replica: str, pool: Pool, now: float) -> None:
        """Send it to a replica."""
        exchange, fields = self.exchange, self._fields
        if not self.at:
            self._proxy.queue_seconds.observe(now - self.arrived)
        else:
            self._proxy.retried(self.failure)
        self.at = replica
        method = exchange.head.method
        data = (
            method,
            pool.prefix,
            fields.line,
            b"content-length: %d\r\nx-request-id: " % len(exchange.body),
            self.request_id,
            b"\r\nx-forwarded-for: ",
            fields.forwarded,
            exchange.peer,
            pool.last_line,
            exchange.body,
        )
        pool.send(self, b"".join(data), now, is_head=method == b"HEAD")

    def relay(self, now: float) -> None:
        """Pass on the reply that is there; of a streamed one what there is of it."""
        head = self._head
        assert head is not None, "the dispatcher relays only what was answered"
        exchange = self.exchange
        if self.connection is not None:
            exchange.on_drain = self._drain
            exchange.start(head.status, [], head.length if head.length >= 0 else None, self._reply_fields(head))
            exchange.write(self._body)
            return
        if head.opening and exchange.is_plain:
            request_id = b"" if head.has_request_id else self.request_id
            exchange.answer(b"".join((head.opening, request_id, b"\r\n\r\n", self._body)))
        else:
            exchange.pass_on(head.status, self._reply_fields(head), self._body)
        self._proxy.done(self, head.status, now)

    def refuse(self, error: ServingError) -> None:
        """Answer with an error of ours."""
        status, headers, body = render_failure(self.exchange.path, error)
        self.exchange.respond(status, [*headers, (b"x-request-id", self.request_id)], body)
        self._proxy.done(self, status, self._proxy.now())

    def _reply_fields(self, head: ReplyHead) -> bytes:
        """The reply's fields, and those that we add."""
        fields = head.fields
        if not head.has_request_id:
            fields = b"%bx-request-id: %b\r\n" % (fields, self.request_id)
        if head.status == THROTTLED and not head.has_retry_after:
            fields += b"retry-after: 1\r\n"
        return fields

    # what the replica does, see `Call`

    def on_reply(self, head: ReplyHead, body: bytes, now: float) -> None:
        self._head = head
        self._body = body
        self._proxy.answered(self, head, now)

    def on_begin(self, head: ReplyHead, body: bytes) -> None:
        self._head = head
        self._body = body
        if head.status in TROUBLE:
            self.cancel()
            self.on_error(Malformed(f"status {head.status} with a body of over {len(body)} bytes"))
        else:
            self._proxy.answered(self, head, self._proxy.now())

    def on_data(self, data: bytes) -> None:
        self.exchange.write(data)

    def on_end(self) -> None:
        assert self._head is not None
        self.exchange.finish()
        self._proxy.done(self, self._head.status, self._proxy.now())

    def on_error(self, error: UpstreamError) -> None:
        if self.exchange.begun:
            log.warning("replica %s broke a streamed reply: %s", self.at, error)
            self.exchange.abort()  # and `gone` follows
        else:
            self._proxy.failed(self, error)

    # what the client does

    def gone(self) -> None:
        """The client left."""
        if self.at:
            self.cancel()
        self._proxy.left(self)

    def _drain(self, ready: bool) -> None:
        if self.connection is not None:
            self.pause(not ready)
