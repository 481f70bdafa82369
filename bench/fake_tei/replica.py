"""A fake replica on one port: HTTP on one side, permits, queue and device on the other."""

import asyncio
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Coroutine
from email.utils import formatdate
from typing import Any, cast

import orjson

from bench.fake_tei import calls, routes, vertex
from bench.fake_tei.call import Call
from bench.fake_tei.calls import Computing
from bench.fake_tei.client import Client
from bench.fake_tei.device import Batch, Device
from bench.fake_tei.faults import Answer, Fault, WrongAnswers
from bench.fake_tei.oracle import tokens_of
from bench.fake_tei.queue import Entry, Permits, Queue
from bench.fake_tei.settings import ReplicaSettings
from embedfleet.dialects.error_reply import render_error
from embedfleet.dialects.serving.tei import RequestCost as Spent
from embedfleet.dialects.serving.tei import cost_headers
from embedfleet.engine.api.openapi import HTML, docs_page, openapi
from embedfleet.errors import Backend, Overloaded, RequestError, ServingError
from embedfleet.http.connection import Connection, Host
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT, Limits
from embedfleet.http.request_head import HeadMemory

_MARK = 80  # first characters of a text, which contain its name
_ABORTED = 134  # a shell's exit code for a process that SIGABRT ended


class Replica(Host):
    """A server with TEI's interface.

    Args:
        name: Name in `stats`.
        settings: Settings of the replica.
        served: Model that computes the answers; None if they follow from the texts.

    Attributes:
        computed: First characters of each computed text, and the time when its batch ended (monotonic).
        counts: Number of requests by outcome.
        deaths: Number of deaths by deadly texts.
    """

    def __init__(self, name: str, settings: ReplicaSettings, served: Computing | None = None) -> None:
        self.name = name
        self.settings = settings
        self.deaths = 0
        self._served = served
        self._key = b"Bearer " + settings.api_key.encode() if settings.api_key else b""
        self._reading = settings.reading()
        self.loop = asyncio.get_running_loop()
        self.limits = Limits(body_bytes=settings.payload_bytes)
        self.refusal_fields = CORS
        self.clients: set[Connection] = set()
        self.turned_away: dict[Connection, None] = {}
        self.most_clients, self.refused = self.limits.connections, 0
        self.heads = HeadMemory(self.limits)
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        self.draining = False
        self.port = 0
        self.computed: list[tuple[str, float]] = []
        self.tokens = 0
        self.counts: Counter[str] = Counter()
        self.permits = Permits(settings.permits)
        self.queue = Queue(settings.cost)
        self.device = Device(self.queue, settings.cost, self._ended, ahead=settings.ahead)
        self._wrong = WrongAnswers()
        self._listener: asyncio.Server | None = None
        self._calls: set[Call] = set()
        self._opening: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, port: int = 0) -> None:
        """Accept connections on a port, 0 for any free one.

        Raises:
            OSError: The port cannot be bound.
        """
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            self.port = sock.getsockname()[1]
            self._listener = await self.loop.create_server(self._client, sock=sock, backlog=1024)
        except BaseException:
            sock.close()
            raise
        self.draining = False

    @property
    def listening(self) -> bool:
        """Whether the replica accepts connections."""
        return self._listener is not None

    def close(self) -> None:
        """Stop listening and drop everything."""
        self._unlisten()
        for task in self._tasks:
            task.cancel()
        for client in list(self.clients):
            client.abort()
        self.device.close()

    def settled(self) -> None:
        """Do nothing, because nothing waits for a settled replica."""

    def _client(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", Client(self))

    # Faults.

    def suffer(self, fault: Fault) -> None:
        """Begin a fault."""
        match fault.kind:
            case "stall" | "hang":
                self.device.hold(fault.seconds if fault.kind == "stall" else math.inf)
            case "slow":
                self.device.slowness = fault.factor
            case "answer":
                self._wrong.set(fault.answer, fault.count)
            case "refuse":
                self._refuse(fault.seconds)
            case "crash":
                self._crash(fault.seconds)
            case _:
                self._heal()

    def _refuse(self, seconds: float) -> None:
        self._unlisten()
        self.draining = True
        for client in list(self.clients):
            client.drain()
        self._open_in(seconds)

    def _crash(self, seconds: float) -> None:
        self._unlisten()
        for client in list(self.clients):
            if isinstance(client, Client):
                client.reset()
        for call in list(self._calls):
            self._left(call)
        self.queue.clear()
        self.device.clear()
        self._open_in(seconds)

    def _die(self) -> None:
        """Die as TEI does from a sequence without tokens: all queued and running work and all connections are lost."""
        if self.settings.back_s is None:
            os._exit(_ABORTED)
        self.deaths += 1
        self._crash(self.settings.back_s)

    def _heal(self) -> None:
        self.device.slowness = 1.0
        self._wrong.set("429", 0)
        self.device.release()
        if self._listener is None:
            self._open()

    def _unlisten(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _open_in(self, seconds: float) -> None:
        if seconds:
            self._opening = self.loop.call_later(seconds, self._open)

    def _open(self) -> None:
        self._unlisten()
        self._do(self.listen(self.port))

    # Requests.

    def handle(self, exchange: Exchange) -> None:
        """Answer a complete request."""
        path, method = exchange.path, exchange.method
        if self._key and routes.is_closed(method, path) and exchange.header(b"authorization") != self._key:
            exchange.respond(*routes.unauthorized(method, path), b"")
        elif method == b"POST" and path in routes.INFERRED:
            self._infer(exchange, path)
        elif method == b"POST" and path in routes.ASKED:
            self._tell(exchange, path)
        elif (refused := routes.refusal(method, path)) is not None:
            exchange.respond(*refused, b"")
        elif path in routes.HEALTH:
            self.device.after_batch(lambda: exchange.respond(200, CORS, b""))
        else:
            self._show(exchange, path)

    def _show(self, exchange: Exchange, path: str) -> None:
        """Answer a request without a body."""
        match path:
            case "/info":
                info = self.settings.info() if self._served is None else self._served.info()
                exchange.respond(200, [JSON, *CORS], orjson.dumps(info))
            case "/metrics":
                exchange.respond(200, [TEXT, *CORS], self._metrics())
            case "/api-doc/openapi.json":
                exchange.respond(200, [JSON, *CORS], openapi())
            case "/docs":
                exchange.respond(303, [(b"location", b"/docs/"), *CORS], b"")
            case _:
                exchange.respond(200, [HTML, *CORS], docs_page())

    def _tell(self, exchange: Exchange, path: str) -> None:
        """Answer a request to the tokenizer."""
        if self._served is not None:
            self._do(self._tell_of_served(self._served, exchange, path))
            return
        try:
            value = calls.ask(path, exchange.header(b"content-type"), exchange.body, self._reading)
        except (RequestError, ServingError) as error:
            self._fail(exchange, path, error)
        else:
            exchange.respond(200, [JSON, *CORS], orjson.dumps(value))

    async def _tell_of_served(self, served: Computing, exchange: Exchange, path: str) -> None:
        try:
            value = await served.ask(path, exchange.header(b"content-type"), exchange.body)
        except (RequestError, ServingError) as error:
            self._fail(exchange, path, error)
        else:
            exchange.respond(200, [JSON, *CORS], orjson.dumps(value))

    def _infer(self, exchange: Exchange, path: str) -> None:
        self.counts["calls"] += 1
        wrong = self._wrong.take()
        if self._served is not None:
            self._do(self._infer_served(self._served, exchange, path, wrong))
            return
        content_type, body = exchange.header(b"content-type"), exchange.body
        try:
            if path == "/vertex":
                work = vertex.read(content_type, body, self._reading)
            else:
                work = calls.read(path, content_type, body, self._reading)
            self._admit(len(work.texts), wrong)
        except (RequestError, ServingError) as error:
            self._fail(exchange, path, error)
        else:
            self._enqueue(exchange, work, wrong)

    async def _infer_served(self, served: Computing, exchange: Exchange, path: str, wrong: Answer | None) -> None:
        try:
            work = await served.read(path, exchange.header(b"content-type"), exchange.body)
            self._admit(0 if exchange.gone else len(work.texts), wrong)
        except (RequestError, ServingError) as error:
            self._fail(exchange, path, error)
        else:
            if not exchange.gone:
                self._enqueue(exchange, work, wrong)

    def _enqueue(self, exchange: Exchange, work: calls.Work, wrong: Answer | None) -> None:
        """Queue the texts of an accepted call."""
        call = Call(exchange, work, wrong)
        self._calls.add(call)
        exchange.on_gone = lambda: self._left(call)
        counts = work.tokens
        if counts is None:
            longest = self.settings.longest
            counts = [tokens_of(text, longest) for text in work.texts]
        entries = [
            Entry(text, tokens, call, call.began, place in work.deadly)
            for place, (text, tokens) in enumerate(zip(work.texts, counts, strict=True))
        ]
        call.tokens = sum(counts)
        if entries:
            self.queue.append(entries)
            self.device.look()
        else:
            self._answer(call, call.began)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _admit(self, texts: int, wrong: Answer | None) -> None:
        if wrong == "429" or not self.permits.take(texts):
            raise Overloaded

    def _fail(self, exchange: Exchange, path: str, error: RequestError | ServingError) -> None:
        status, headers, body = render_error(path, error)
        self.counts[str(status)] += 1
        exchange.respond(status, [*(header for header in headers if header[0] != b"retry-after"), *CORS], body)

    def _left(self, call: Call) -> None:
        """Free the permits of a client that has left; its texts in a batch are still computed."""
        if not call.gone:
            call.gone = True
            self.counts["gone"] += 1
            self.permits.give_back(call.permits)
            self._calls.discard(call)

    def _ended(self, batch: Batch) -> None:
        if any(entry.deadly for entry in batch.entries):
            self._die()
            return
        now = time.monotonic()
        for entry in batch.entries:
            self.computed.append((entry.text[:_MARK], batch.ends_at))
            self.tokens += entry.tokens
            call = entry.owner
            assert isinstance(call, Call)
            call.queue_s += batch.started_at - entry.queued_at
            call.inference_s += batch.seconds
            call.left -= 1
            if call.gone:
                continue
            self.permits.give_back(1)
            call.permits -= 1
            if call.left == 0:
                self._answer(call, now)

    def _answer(self, call: Call, now: float) -> None:
        self._calls.discard(call)
        call.gone = True
        exchange, texts = call.exchange, len(call.work.texts) or 1
        if call.wrong == "424":
            self._fail(exchange, exchange.path, Backend("Backend error: DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)"))
            return
        if call.wrong == "500":
            self.counts["500"] += 1
            exchange.respond(500, [TEXT, *CORS], b"internal error")
            return
        value = call.work.answer(call.tokens)
        body = orjson.dumps(value) if call.wrong is None else calls.spoil(value, call.wrong)
        spent = Spent(
            characters=call.work.characters,
            tokens=call.tokens,
            total_s=now - call.began,
            tokenization_s=0.0,
            queue_s=max(0.0, call.queue_s / texts),
            inference_s=call.inference_s / texts,
        )
        self.counts["200"] += 1
        told = cost_headers(spent) if call.work.is_costed else ()
        exchange.respond(200, [JSON, *told, *CORS], body)

    # Statistics.

    def stats(self) -> dict[str, Any]:
        """Counts of requests and the delays of batches."""
        return {
            "name": self.name,
            "port": self.port,
            "counts": dict(self.counts),
            "texts": len(self.computed),
            "tokens": self.tokens,
            "busy_s": self.device.busy_s,
            "late_s": self.device.late_s,
            "dropped": self.queue.dropped,
            "queued": len(self.queue),
            "permits_taken": self.permits.taken,
            "deaths": self.deaths,
        }

    def reset_stats(self) -> None:
        """Reset the counts."""
        self.computed.clear()
        self.counts.clear()
        self.tokens = 0
        self.device.late_s.clear()
        self.device.busy_s = 0.0
        self.queue.dropped = 0

    def _metrics(self) -> bytes:
        rows = {
            "te_request_count": ("counter", self.counts["calls"]),
            "te_request_success": ("counter", self.counts["200"]),
            "te_embed_count": ("counter", len(self.computed)),
            "te_queue_size": ("gauge", len(self.queue)),
        }
        return "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, (kind, value) in rows.items()).encode()
