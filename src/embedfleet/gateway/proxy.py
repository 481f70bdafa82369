"""The life of a request: it arrives, is sent, is answered; the dispatcher says where, this does it."""

import asyncio
import logging
import os
from collections.abc import Callable
from itertools import count

from embedfleet.dialects.failure import render_failure
from embedfleet.errors import Malformed, Refused, Reset, ServingError, TimedOut, UpstreamError
from embedfleet.gateway.dispatcher import (
    RETRIED,
    THROTTLED,
    Command,
    Dispatcher,
    Failure,
    Forget,
    Probe,
    Refuse,
    Relay,
    Send,
)
from embedfleet.gateway.forwarding import RequestFields
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.gateway.transport import Call, Pool, Reply
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
        self._flights: dict[int, _Flight] = {}
        self._numbers = count(1)
        self._id_prefix = os.urandom(6).hex().encode()
        self._loop = asyncio.get_running_loop()
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
        number = next(self._numbers)
        flight = _Flight(self, number, exchange, self._loop.time())
        self._flights[number] = flight
        exchange.on_gone = flight.gone
        self.execute(self.dispatcher.arrived(number, len(exchange.body), flight.arrived))

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
                case Send():
                    self._flights[command.request].send(command.replica, self._pools[command.replica])
                case Relay():
                    self._flights[command.request].relay()
                case Refuse():
                    self._registry["embedfleet_shed_total"].value(command.reason).inc()
                    self._flights[command.request].refuse(command.error)
                case Probe():
                    self._probe(self.endpoints[command.replica])
                case Forget():
                    self._forget(command.replica)

    def request_id(self, number: int) -> bytes:
        """An id no other process gives."""
        return b"%b-%x" % (self._id_prefix, number)

    def answered(self, flight: "_Flight", reply: Reply) -> None:
        """A replica's reply is there, or has begun."""
        head = reply.head
        if head.status == THROTTLED or head.status in RETRIED:
            self._note_failure(flight, f"status {head.status}")
        self.execute(self.dispatcher.answered(flight.number, head.status, self._loop.time(), head.tokens))

    def failed(self, flight: "_Flight", error: UpstreamError) -> None:
        """A replica gave no answer."""
        failure = _FAILURES[type(error)]
        self._note_failure(flight, failure.value)
        log.warning("replica %s failed a request: %s", flight.replica, error, extra={"replica": flight.replica})
        self.execute(self.dispatcher.failed(flight.number, failure, self._loop.time()))

    def left(self, flight: "_Flight") -> None:
        """A client is gone."""
        del self._flights[flight.number]
        self._registry["embedfleet_client_gone_total"].value().inc()
        self.execute(self.dispatcher.left(flight.number, self._loop.time()))

    def done(self, flight: "_Flight", status: int) -> None:
        """A request was answered."""
        del self._flights[flight.number]
        elapsed = self._loop.time() - flight.arrived
        self._request_seconds.observe(elapsed)
        counter = self._answered.get(status)
        if counter is None:
            counter = self._answered[status] = self._registry["embedfleet_requests_total"].value(str(status))
        counter.value += 1
        if self._settings.access_log:
            exchange = flight.exchange
            access.info(
                "%s %s %d %.1f ms %s",
                exchange.method.decode("latin-1"),
                exchange.path,
                status,
                elapsed * 1000,
                flight.replica,
                extra={"request_id": flight.request_id.decode("latin-1"), "status": status, "replica": flight.replica},
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
        self._registry["embedfleet_replica_failures_total"].value(flight.replica, kind).inc()

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
        self._retiring = [pool for pool in self._retiring if pool.calls]
        for pool in [*self._pools.values(), *self._retiring]:
            pool.sweep(now)
        self.execute(self.dispatcher.tick(now))
        self._timer = self._loop.call_later(_TICK_S, self._tick)


class _Flight:
    """One client's request until it is answered; the receiver of its replicas' replies."""

    __slots__ = (
        "_call",
        "_fields",
        "_proxy",
        "_reply",
        "arrived",
        "exchange",
        "failure",
        "number",
        "replica",
        "request_id",
    )

    def __init__(self, proxy: Proxy, number: int, exchange: Exchange, now: float) -> None:
        self._proxy = proxy
        self._call: Call | None = None
        self._reply: Reply | None = None
        self.number = number
        self.exchange = exchange
        self.arrived = now
        self.replica = ""
        self.failure = ""  # of the last replica that failed it
        head = exchange.head
        fields = head.note
        if not isinstance(fields, RequestFields):
            fields = head.note = RequestFields(head.target, head.headers)
        self._fields = fields
        self.request_id = fields.request_id or proxy.request_id(number)

    # what the dispatcher has decided

    def send(self, replica: str, pool: Pool) -> None:
        """Send it to a replica."""
        exchange, fields = self.exchange, self._fields
        if not self.replica:
            self._proxy.queue_seconds.observe(pool.now() - self.arrived)
        else:
            self._proxy.retried(self.failure)
        self.replica = replica
        data = b"%b%b%bcontent-length: %d\r\nx-request-id: %b\r\nx-forwarded-for: %b%b\r\n%b%b" % (
            exchange.head.method,
            pool.prefix,
            fields.line,
            len(exchange.body),
            self.request_id,
            fields.forwarded,
            exchange.peer,
            pool.host_line,
            exchange.body,
        )
        self._call = pool.send(data, self, is_head=exchange.head.method == b"HEAD")

    def relay(self) -> None:
        """Pass on the reply that is there; of a streamed one what there is of it."""
        reply = self._reply
        assert reply is not None, "the dispatcher relays only what was answered"
        head = reply.head
        fields = head.fields
        if not head.has_request_id:
            fields = b"%bx-request-id: %b\r\n" % (fields, self.request_id)
        if head.status == THROTTLED and not head.has_retry_after:
            fields += b"retry-after: 1\r\n"
        if self._call is None:
            self.exchange.pass_on(head.status, fields, reply.body)
            self._proxy.done(self, head.status)
            return
        self.exchange.on_drain = self._drain
        self.exchange.start(head.status, [], head.length if head.length >= 0 else None, fields)
        self.exchange.write(reply.body)

    def refuse(self, error: ServingError) -> None:
        """Answer with an error of ours."""
        status, headers, body = render_failure(self.exchange.path, error)
        self.exchange.respond(status, [*headers, (b"x-request-id", self.request_id)], body)
        self._proxy.done(self, status)

    # what the replica does

    def on_reply(self, reply: Reply) -> None:
        """See `transport.Receiver`."""
        self._call = None
        self._reply = reply
        self._proxy.answered(self, reply)

    def on_begin(self, reply: Reply) -> None:
        """See `transport.Receiver`."""
        self._reply = reply
        status = reply.head.status
        if (status in RETRIED or status == THROTTLED) and self._call is not None:
            self._call.cancel()
            self.on_error(Malformed(f"status {status} with a body of over {len(reply.body)} bytes"))
        else:
            self._proxy.answered(self, reply)

    def on_data(self, data: bytes) -> None:
        """See `transport.Receiver`."""
        self.exchange.write(data)

    def on_end(self) -> None:
        """See `transport.Receiver`."""
        self._call = None
        assert self._reply is not None
        self.exchange.finish()
        self._proxy.done(self, self._reply.head.status)

    def on_error(self, error: UpstreamError) -> None:
        """See `transport.Receiver`."""
        self._call = None
        if self.exchange.begun:
            log.warning("replica %s broke a streamed reply: %s", self.replica, error)
            self.exchange.abort()  # and `gone` follows
        else:
            self._proxy.failed(self, error)

    # what the client does

    def gone(self) -> None:
        """The client left."""
        if self._call is not None:
            self._call.cancel()
        self._proxy.left(self)

    def _drain(self, ready: bool) -> None:
        if self._call is not None:
            self._call.pause(not ready)
