"""Detection of a replica's restart by two idle connections: while either is open, the process lives.

A process that ends closes all of its connections at once, while a server with an idle timeout closes them one by one.
So the watch holds two connections of different ages, and replaces one that was closed. As long as one is left, no other
process can listen at the address. A new connection is opened when the youngest is half as old as the oldest; so the
watch adapts to the server's idle timeout with few connections.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from embedfleet.errors import Starved
from embedfleet.system.kernel_limits import ran_out

log = logging.getLogger(__name__)

_CONNECT_S: Final = 5.0
_APART_S: Final = 0.4  # time between opening the first two connections
_LEAST_APART_S: Final = 0.02
_TRIES: Final = 3  # after this many short-lived connections, the server cannot be watched
# A host that vanished is detected after about five seconds; a host that is back resets the connection at once.
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3))


def renewal_at(oldest: float, youngest: float, apart_s: float) -> float:
    """Compute when to open the next connection: once the youngest is half as old as the oldest.

    Args:
        oldest: Time at which the oldest connection was opened, in seconds.
        youngest: Time at which the youngest was opened; equal to ``oldest`` if there is only one.
        apart_s: Shortest time between two connections, in seconds.
    """
    return max(youngest + apart_s, 2 * youngest - oldest)


class ProcessWatch:
    """Watches one replica's process through two idle connections.

    Args:
        host: Host of the replica.
        port: Port of the replica.
        on_lost: Callback for the loss of the last connection.

    Attributes:
        is_open: Whether the process that listened when `open` returned still lives; always True after `open` for a
            server that cannot be watched.
        losses: Number of times that the last open connection was lost.
    """

    def __init__(self, host: str, port: int, on_lost: Callable[[], None]) -> None:
        self.is_open = False
        self.losses = 0
        self._host = host
        self._port = port
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._held: list[_Held] = []  # oldest first
        self._apart_s = _APART_S
        self._short = 0  # number of short-lived connections in a row
        self._is_possible = True
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    @property
    def sees_it(self) -> bool:
        """Whether a connection is open; False also for a server that cannot be watched."""
        return bool(self._held)

    async def open(self) -> None:
        """Open a connection if there is none; nothing happens if nothing listens at the address.

        Raises:
            Starved: This process lacks open files, memory or ports for a connection.
        """
        if self.is_open or self._is_closed:
            return
        if not self._is_possible:
            self.is_open = True
            return
        held = await self._connect()
        if held is not None:
            self._held = [held]
            self.is_open = True
            self._plan()

    def close(self) -> None:
        """Stop watching; `on_lost` is not called after this."""
        self._is_closed = True
        self.is_open = False
        self._cancel()
        for held in self._held:
            held.close()
        self._held = []

    def lost(self, held: "_Held") -> None:
        """Handle a connection that the server closed."""
        lived_s = self._loop.time() - held.opened_at
        if lived_s < self._apart_s:
            self._apart_s = max(_LEAST_APART_S, lived_s / 2)
        self._short = self._short + 1 if lived_s < _LEAST_APART_S else 0
        if held not in self._held:
            return
        self._held.remove(held)
        if self._held:
            self._plan()
            return
        self._cancel()
        if self._short >= _TRIES:
            self._is_possible = False
            log.warning(
                "%s:%d closes idle connections at once: only probes can find out whether another process listens there",
                self._host,
                self._port,
            )
        self.is_open = False
        self.losses += 1
        self._on_lost()

    # internals

    def _plan(self) -> None:
        """Set the timer for the next connection."""
        if self._timer is not None:
            self._timer.cancel()
        at = renewal_at(self._held[0].opened_at, self._held[-1].opened_at, self._apart_s)
        self._timer = self._loop.call_at(at, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._renewing is None or self._renewing.done():
            self._renewing = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        """Open a new connection, and keep it and the oldest one."""
        held = None
        with suppress(Starved):
            held = await self._connect()
        try:
            await asyncio.sleep(0)  # the loop can now report a connection that was closed before it was accepted
        except asyncio.CancelledError:
            if held is not None:
                held.close()
            raise
        if held is None or not held.is_there or not self._held:
            if held is not None:  # no old connection is left, so the new one may lead to another process
                held.close()
            self._timer = self._loop.call_later(self._apart_s, self._begin) if self._held else None
            return
        for other in self._held[1:]:
            other.close()
        self._held = [self._held[0], held]
        self._plan()

    async def _connect(self) -> "_Held | None":
        """Open a connection; None if nothing listens."""
        held = _Held(self)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._loop.create_connection(lambda: cast("asyncio.Protocol", held), self._host, self._port)
        except (OSError, TimeoutError) as error:
            if ran_out(error):
                raise Starved(f"{self._host}:{self._port}: {error}") from error
            return None
        except asyncio.CancelledError:
            held.close()
            raise
        if self._is_closed or not held.is_there:
            held.close()
            return None
        return held

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None


class _Held:
    """One idle connection."""

    def __init__(self, watch: ProcessWatch) -> None:
        self.opened_at = 0.0
        self._watch: ProcessWatch | None = watch
        self._transport: asyncio.Transport | None = None

    @property
    def is_there(self) -> bool:
        """Whether the connection is open."""
        return self._transport is not None

    def close(self) -> None:
        """Close the connection without a report to the watch."""
        self._watch = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, name, value)
        self.opened_at = asyncio.get_running_loop().time()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # every end means the same
        self._transport = None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.lost(self)

    def data_received(self, data: bytes) -> None:
        """Ignore data: some servers explain why they are about to close the connection."""

    def eof_received(self) -> None:
        """Let asyncio close the connection."""

    def pause_writing(self) -> None:
        """Do nothing, since nothing is written."""

    def resume_writing(self) -> None:
        """Do nothing, since nothing is written."""
