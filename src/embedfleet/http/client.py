"""An HTTP client for admin calls and other rare requests: a new connection for each request."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from embedfleet.errors import Malformed, Refused, Reset, Starved, TimedOut
from embedfleet.http.message import BODILESS, Header
from embedfleet.http.reply_overhead import Overhead
from embedfleet.http.unix_socket import reachable
from embedfleet.system.kernel_limits import ran_out

_STEP_S = 0.5  # a timeout is awaited in steps of this length
_STILL_S = 0.1  # a step that ends more than this too late shows that the process was not running
_UNIX = "http+unix://"
# Far more than any expected answer: the largest, TEI's /tokenize for a full batch of texts, has some megabytes.
_MOST_BYTES = 16_777_216


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply; field names are in lower case, and the last value of a repeated field counts."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    port: int
    socket: str
    path: str


async def fetch(
    url: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: Sequence[Header] = (),
    timeout_s: float,
    most_bytes: int = _MOST_BYTES,
) -> Reply:
    """Send one request and read the complete reply.

    Args:
        url: ``http://host:port/path``, or ``http+unix:///absolute/socket:/path`` with no ``:/`` in ``/path``.
        method: HTTP method.
        body: Body of the request.
        headers: Fields besides host, content-length and connection.
        timeout_s: Time limit for the whole exchange, in seconds.
        most_bytes: Maximum size of the reply's body.

    Raises:
        Refused: Nothing listens at the address.
        Reset: The connection failed in another way, or ended before the reply did.
        Malformed: The reply is not HTTP, or exceeds a limit.
        TimedOut: No complete reply arrived in ``timeout_s`` seconds.
        Starved: This process ran out of open files, memory or ports.
    """
    target = _parse(url)
    try:
        return await _within(timeout_s, _exchange(target, method, body, headers, most_bytes))
    except TimeoutError:
        raise TimedOut(f"{url}: no reply in {timeout_s:g} s") from None
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise Refused(f"{url}: {error.strerror}") from error
    except OSError as error:
        if ran_out(error):
            raise Starved(f"{url}: {error}") from error
        raise Reset(f"{url}: {error}") from error
    except (httptools.HttpParserError, Malformed) as error:
        raise Malformed(f"{url}: {error}") from error


async def _within(seconds: float, work: Coroutine[None, None, Reply]) -> Reply:
    """Await work with a timeout that counts only the time in which this process ran.

    When a stopped process continues, the time may be over although the reply lies unread in the socket. So a step that
    ended too late is not counted, unless the step before it was late as well.
    """
    now, left, was_late = asyncio.get_running_loop().time, seconds, False
    task = asyncio.ensure_future(work)
    try:
        while True:
            step_s, began = min(left, _STEP_S), now()
            done, _ = await asyncio.wait({task}, timeout=step_s)
            if done:
                return task.result()
            is_late = now() - began > step_s + _STILL_S and not was_late
            if not is_late:
                left -= step_s
            if left <= 0:
                raise TimeoutError
            was_late = is_late
    finally:
        task.cancel()


def _parse(url: str) -> _Target:
    if url.startswith(_UNIX):
        socket, _, path = url.removeprefix(_UNIX).rpartition(":/")  # the name of a folder may contain a colon
        return _Target("localhost", 0, socket, f"/{path}")
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(parts.hostname or "127.0.0.1", parts.port or 80, "", path)


async def _exchange(target: _Target, method: str, body: bytes, headers: Sequence[Header], most_bytes: int) -> Reply:
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    reader = _Reader(reply, method, most_bytes)
    if target.socket:
        with reachable(target.socket) as path:
            transport, _ = await loop.create_unix_connection(lambda: reader, path)
    else:
        transport, _ = await loop.create_connection(lambda: reader, target.host, target.port)
    try:
        host = f"{target.host}:{target.port}" if target.port else target.host
        lines = [
            f"{method} {target.path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n".encode(),
            b"content-length: %d\r\n" % len(body),
            *(b"%b: %b\r\n" % header for header in headers),
            b"\r\n",
            body,
        ]
        transport.write(b"".join(lines))
        return await reply
    finally:
        transport.abort()


class _Reader(asyncio.Protocol):
    """The protocol that reads one reply."""

    def __init__(self, reply: asyncio.Future[Reply], method: str, most_bytes: int) -> None:
        self._reply = reply
        self._method = method
        self._most_bytes = most_bytes
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._overhead = Overhead()
        self._status = 0  # 0 until the head has arrived
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._framed = False  # whether the head tells where the body ends; if not, it ends with the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not a subclass

    def data_received(self, data: bytes) -> None:
        if self._reply.done():
            return
        try:
            self._parser.feed_data(data)
            self._check(len(data))
        except (httptools.HttpParserError, Malformed) as error:
            if not self._reply.done():
                self._reply.set_exception(error)
            if self._transport is not None:
                self._transport.abort()  # at once, because more data could arrive before the waiting task runs

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._reply.done():
            if exc is None and self._status and not self._framed:
                self.on_message_complete()
            else:
                self._reply.set_exception(exc or ConnectionResetError("the connection ended before the reply did"))
        self._parser = httptools.HttpResponseParser(None)  # the old one refers to this object: this breaks the cycle
        self._transport = None
        self._body.clear()  # an exception may still refer to this object, until the collector runs

    def on_header(self, name: bytes, value: bytes) -> None:
        self._overhead.add_field(name, value)
        if not self._status:  # otherwise the field is a trailer
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self._overhead.add_head(status):
            self._headers.clear()
            return
        self._status = status
        self._framed = status in BODILESS or "content-length" in self._headers or "transfer-encoding" in self._headers
        if self._method == "HEAD":  # content-length describes a body that is not sent (RFC 9110 §9.3.2)
            self.on_message_complete()

    def on_body(self, data: bytes) -> None:
        self._overhead.add_body()
        if len(self._body) <= self._most_bytes:  # an oversized body grows by at most one read
            self._body += data

    def on_message_complete(self) -> None:
        if self._status and not self._reply.done() and not self._fault:
            self._reply.set_result(Reply(self._status, self._headers, bytes(self._body)))

    def _check(self, size: int) -> None:
        """Raise Malformed if the reply exceeds a limit."""
        if not self._reply.done():
            self._overhead.add_read(size)
        if self._fault:
            raise Malformed(self._fault)

    @property
    def _fault(self) -> str:
        """Description of the limit that the reply exceeds; empty if none."""
        if len(self._body) > self._most_bytes:
            return f"a body of over {self._most_bytes} bytes"
        return self._overhead.fault
