"""Clients whose connection records what is written to it, and replies of replicas, for tests without sockets."""

import asyncio
import time

from embedfleet.gateway.counters import Counters
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Handle, Request
from embedfleet.gateway.proxy import Proxy
from embedfleet.gateway.requests.attempt import Attempt, Sending
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.gateway.upstream.reply import ReplyHead
from embedfleet.http.exchange import Exchange, Wire
from embedfleet.http.request_head import RequestHead
from embedfleet.metrics import GATEWAY, Registry

NOW = 100.0


class Recorded(Wire):
    """A connection that keeps what is written to it."""

    def __init__(self):
        self.peer = b"192.0.2.1"
        self.draining = False
        self.data = b""
        self.answers = 0

    @property
    def date(self):
        return b"date: now\r\n"

    def write(self, data):
        self.data += data

    def abort(self):
        self.data += b"!"

    def answered(self, keep_alive):
        self.answers += 1


def exchange(body, *, path=b"/embed", headers=(), method=b"POST", is_plain=True):
    """Make an exchange and its connection."""
    head = RequestHead()
    head.method, head.target = method, path
    head.headers = [(b"content-type", b"application/json"), *headers]
    head.is_plain = is_plain
    head.note = RequestFields(method, path, path.decode(), head.headers)
    wire = Recorded()
    return Exchange(wire, head, body), wire


def context():
    registry = Registry(GATEWAY)
    return RequestContext(Counters(registry), time.monotonic, logs_access=False), registry


def request_of(handle: Handle, texts: int, *, is_online=True) -> Request:
    return Request(handle, tokens=10 * texts, texts=texts, size_bytes=100, is_online=is_online, now=NOW, timeout_s=60)


def replied(outcomes, delivery, chunk: Chunk, body: bytes, status=200, headers=()) -> Attempt:
    """Make an attempt whose reply has arrived."""
    attempt = Attempt(outcomes, chunk, Sending(delivery), Replica("r"))
    attempt.head = ReplyHead.parsed(status, [(b"date", b"then"), *headers, (b"content-length", b"%d" % len(body))])
    attempt.body = body
    return attempt


def parse(data):
    """Split the bytes of one whole answer into status, fields and body."""
    start, _, body = data.partition(b"\r\n\r\n")
    status, *lines = start.split(b"\r\n")
    fields = [tuple(line.split(b": ", 1)) for line in lines]
    return int(status.split()[1]), fields, body


def with_outcomes(check):
    """Call ``check`` with an object that attempts may report to."""

    async def go():
        proxy = Proxy(GatewaySettings(), Registry(GATEWAY), print)
        check(proxy._outcomes)
        proxy.stop()

    asyncio.run(go())
