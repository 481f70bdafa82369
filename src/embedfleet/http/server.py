"""An HTTP/1.1 server whose handler gets complete requests, and answers at once or later.

A handler is a plain function: a task, timer or future per request would add CPU time to every request of the gateway.
One sweep per second checks all timeouts.
"""

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Final, cast

from typing_extensions import override

from embedfleet.http.connection import Connection, Host
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import TEXT, Header, Limits
from embedfleet.http.request_head import HeadMemory
from embedfleet.http.unix_socket import UnixSocket
from embedfleet.system import heap
from embedfleet.system.disk_watch import DiskWatch
from embedfleet.system.kernel_limits import client_connections, open_files

log = logging.getLogger(__name__)

BACKLOG: Final = 2048  # maximum clients that wait to be accepted
# Sweeps between two returns of freed memory to the system; each return takes milliseconds.
_SWEEPS: Final = 5
# Since Python 3.13, asyncio removes the socket at the path that was bound, whose descriptor may be closed by then.
_UNIX: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}

Handler = Callable[[Exchange], None]


class Server(Host):
    """A server at one address that calls a handler once per complete request.

    Args:
        handler: Function that answers through the `Exchange`, at once or later; it must not block.
        limits: Limits towards clients.
        refusal_fields: Fields of the answers to invalid requests, such as one whose body is too large.
    """

    def __init__(self, handler: Handler, limits: Limits | None = None, refusal_fields: Sequence[Header] = ()) -> None:
        self.limits = limits or Limits()
        self.refusal_fields = refusal_fields
        self.clients: set[Connection] = set()
        self.turned_away: dict[Connection, None] = {}
        self.refused = 0
        self.most_clients = min(self.limits.connections, client_connections(open_files()))
        self.heads = HeadMemory(self.limits)
        self.draining = False
        self.retiring = False
        self.is_untidy = False
        self.port = 0
        self.date = b""
        self._handler = handler
        self._listener: asyncio.Server | None = None
        self._at: UnixSocket | None = None
        self._disk_watch: DiskWatch | None = None
        self._rebinding: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._settled: asyncio.Event | None = None
        self._left: asyncio.Event | None = None
        self._sweeps = 0
        self.loop: asyncio.AbstractEventLoop

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self.clients)

    async def start(
        self, *, host: str | None = None, port: int = 0, path: str | None = None, mode: int = 0o600
    ) -> None:
        """Listen on ``host:port`` (port 0: any free port), or on the Unix socket ``path`` with permissions ``mode``.

        If the Unix socket or its folder is removed, the server makes it again within seconds.

        Raises:
            OSError: The address cannot be bound; ``errno`` says why.
        """
        if path is None:
            await self.accept(bind(host or "127.0.0.1", port))
            return
        self.loop = asyncio.get_running_loop()
        self._at = UnixSocket(path, mode)
        await self._listen_unix(self._at.bind())
        self._disk_watch = DiskWatch(self._restore_socket)
        self._sweep()

    async def accept(self, bound: socket.socket) -> None:
        """Accept clients from a bound TCP socket, which the server then owns; other processes may use it too."""
        self.loop = asyncio.get_running_loop()
        self.port = bound.getsockname()[1]
        self._listener = await self.loop.create_server(self._connect, sock=bound, backlog=BACKLOG)
        self._sweep()

    async def retire(self) -> None:
        """Stop accepting clients, and return once every client has gone.

        Each connection closes after its next answer. An idle one stays open until its idle timeout, so that no request
        on its way is lost.
        """
        self._stop_listening()
        self.draining = self.retiring = True
        for client in self.clients:
            client.draining = True
        self._left = asyncio.Event()
        self.settled()
        await self._left.wait()

    def begin_drain(self) -> None:
        """Close every idle connection now, and every other one after its next answer."""
        self.draining = True
        for client in list(self.clients):
            client.drain()

    async def stop(self, grace_s: float) -> None:
        """Stop listening, wait up to ``grace_s`` seconds for exchanges in progress, then drop the rest."""
        if self._disk_watch is not None:
            self._disk_watch.stop()
        self._stop_listening()
        if self._at is not None:
            self._at.remove()
        self.begin_drain()
        if any(client.busy for client in self.clients):
            self._settled = asyncio.Event()
            try:
                async with asyncio.timeout(grace_s):
                    await self._settled.wait()
            except TimeoutError:
                log.warning("dropping %d exchanges in progress", sum(c.busy for c in self.clients))
        if self._timer is not None:
            self._timer.cancel()
        for client in [*self.clients, *self.turned_away]:
            if client.busy:
                client.abort()
            else:
                client.close()

    @override
    def handle(self, exchange: Exchange) -> None:
        """Call the handler; log its failure and answer 500."""
        try:
            self._handler(exchange)
        except Exception:
            log.exception("handler failed on %r %r", exchange.method, exchange.target)
            if exchange.begun:
                exchange.abort()
            else:
                exchange.respond(500, [TEXT, *self.refusal_fields], b"internal error")

    @override
    def settled(self) -> None:
        if self._settled is not None and not any(client.busy for client in self.clients):
            self._settled.set()
        if self._left is not None and not self.clients:
            self._left.set()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _connect(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", Connection(self))

    async def _listen_unix(self, bound: socket.socket) -> None:
        former = self._listener
        self._listener = await self.loop.create_unix_server(self._connect, sock=bound, backlog=1024, **_UNIX)
        if former is not None:
            former.close()

    def _restore_socket(self) -> None:
        """Bind the Unix socket again if it is gone; runs in a thread, because the disk may hang."""
        bound = self._at.bind_again() if self._at is not None else None
        if bound is not None:
            log.warning("the socket %s was gone, and is restored", self._at)
            with suppress(RuntimeError):  # the loop may just have ended
                self.loop.call_soon_threadsafe(self._rebind, bound)

    def _rebind(self, bound: socket.socket) -> None:
        if self._disk_watch is None or self._disk_watch.is_over:
            bound.close()
        else:
            self._rebinding = self.loop.create_task(self._listen_unix(bound))

    def _sweep(self) -> None:
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        now = self.loop.time()
        for client in [*self.clients, *self.turned_away]:
            if 0.0 < client.deadline < now:
                client.expire()
        self._sweeps += 1
        if self.is_untidy and self._sweeps >= _SWEEPS:
            self._sweeps, self.is_untidy = 0, False
            heap.give_back()
        self._timer = self.loop.call_later(1.0, self._sweep)


def bind(host: str, port: int) -> socket.socket:
    """Bind a TCP socket to the first address that ``host`` resolves to."""
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        reason = "address already in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise OSError(error.errno, f"{host}:{port}: {reason}") from error
    return sock
