"""An HTTP/1.1 server for handlers that take whole requests and answer when they can.

A handler is a plain function: no task, timer or future is made per request, because the gateway pays for each
of them on every request. One sweep a second serves all timeouts.
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

from embedfleet.http.connection import Connection, Host
from embedfleet.http.exchange import Exchange
from embedfleet.http.head import HeadMemory
from embedfleet.http.message import TEXT, Header, Limits
from embedfleet.http.unix_socket import UnixSocket
from embedfleet.system import heap
from embedfleet.system.disk_watch import Lookout
from embedfleet.system.kernel_limits import client_connections, open_files

log = logging.getLogger(__name__)

BACKLOG: Final = 2048  # clients that wait to be accepted
# Sweeps between two of which what clients left behind is given back to the system: it takes milliseconds.
_SWEEPS: Final = 5
# From 3.13 on asyncio removes a socket by the path that it was bound by, which may be one that holds no longer.
_UNIX: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}

Handler = Callable[[Exchange], None]


class Server(Host):
    """Listens on one address and calls ``handler`` once per complete request.

    Args:
        handler: must not block; it answers through the `Exchange`, then or later.
        limits: what one client may ask.
        refusal_fields: of the answers to what never becomes a request, such as a body that is too large.
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
        self._lookout: Lookout | None = None
        self._rebinding: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._settled: asyncio.Event | None = None
        self._left: asyncio.Event | None = None
        self._sweeps = 0
        self.loop: asyncio.AbstractEventLoop

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.clients)

    async def start(
        self, *, host: str | None = None, port: int = 0, path: str | None = None, mode: int = 0o600
    ) -> None:
        """Listen on ``host:port`` (port 0: any free one) or on the Unix socket ``path``, with these permissions.

        A Unix socket that is removed, or its folder, is made again within seconds.

        Raises:
            OSError: the address cannot be bound; ``errno`` says why.
        """
        if path is None:
            await self.accept(bind(host or "127.0.0.1", port))
            return
        self.loop = asyncio.get_running_loop()
        self._at = UnixSocket(path, mode)
        await self._listen_unix(self._at.bind())
        self._lookout = Lookout(self._look_after)
        self._sweep()

    async def accept(self, bound: socket.socket) -> None:
        """Accept clients from a bound TCP socket, which is ours from now on; others may accept from it as well."""
        self.loop = asyncio.get_running_loop()
        self.port = bound.getsockname()[1]
        self._listener = await self.loop.create_server(self._connect, sock=bound, backlog=BACKLOG)
        self._sweep()

    async def retire(self) -> None:
        """Accept nobody any more, and return once every client has gone.

        Each gets its connection closed by its next answer. One that is idle keeps it until its time is over, as ever: a
        request that is on its way is not lost.
        """
        self._stop_listening()
        self.draining = self.retiring = True
        for client in self.clients:
            client.draining = True
        self._left = asyncio.Event()
        self.settled()
        await self._left.wait()

    def begin_drain(self) -> None:
        """From now on every answer closes its connection, and idle connections are closed."""
        self.draining = True
        for client in list(self.clients):
            client.drain()

    async def stop(self, grace_s: float) -> None:
        """Stop listening, let exchanges under way end for up to ``grace_s`` seconds, then drop what is left."""
        if self._lookout is not None:
            self._lookout.stop()
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
                log.warning("dropping %d exchanges still under way", sum(c.busy for c in self.clients))
        if self._timer is not None:
            self._timer.cancel()
        for client in [*self.clients, *self.turned_away]:
            if client.busy:
                client.abort()
            else:
                client.close()

    def handle(self, exchange: Exchange) -> None:
        """Call the handler; its failure is logged and answered 500."""
        try:
            self._handler(exchange)
        except Exception:
            log.exception("handler failed on %r %r", exchange.method, exchange.target)
            if exchange.begun:
                exchange.abort()
            else:
                exchange.respond(500, [TEXT, *self.refusal_fields], b"internal error")

    def settled(self) -> None:
        """An exchange ended or a client left."""
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

    def _look_after(self) -> None:
        """In a thread: see that clients find the Unix socket where they were told."""
        bound = self._at.bind_again() if self._at is not None else None
        if bound is not None:
            log.warning("the socket %s was gone, and is made again", self._at)
            with suppress(RuntimeError):  # the loop has just ended
                self.loop.call_soon_threadsafe(self._rebind, bound)

    def _rebind(self, bound: socket.socket) -> None:
        if self._lookout is None or self._lookout.is_over:
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
    """A listening-ready socket; the first address that ``host`` resolves to is used."""
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
