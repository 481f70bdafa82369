"""Two idle connections to a replica on which nothing is ever sent: while one of them is open, the process there lives.

A process that ends closes all of its connections at once; a server that is tired of an idle one closes that alone. So
two are held, of different age: when one is closed another is opened while the other is there, and only when none is
left may whoever listens there be another process. What a server bears is thus learnt without being told, and it costs
a few connections while it is learnt: each is opened when the one before it is half as old as the oldest.
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
_APART_S: Final = 0.4  # between the first two
_LEAST_APART_S: Final = 0.02
_TRIES: Final = 3  # connections in a row that were closed sooner than that: the server lets nobody watch it
# A host that vanished without a word is missed after about five seconds, and one that is there again tells at once.
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3))


def renewal_at(oldest: float, youngest: float, apart_s: float) -> float:
    """When another connection is wanted: once the youngest is half as old as the oldest.

    Args:
        oldest: when it was opened, in seconds.
        youngest: likewise; the same if there is but one.
        apart_s: the least time between two.
    """
    return max(youngest + apart_s, 2 * youngest - oldest)


class Watch:
    """See the module.

    Args:
        host: of the replica.
        port: of the replica.
        on_lost: called when none is left.

    Attributes:
        is_open: whether the process that was there when `open` returned is there still.
        losses: how often none was left.
    """

    def __init__(self, host: str, port: int, on_lost: Callable[[], None]) -> None:
        self.is_open = False
        self.losses = 0
        self._host = host
        self._port = port
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._held: list[_Held] = []  # the oldest first
        self._apart_s = _APART_S
        self._short = 0  # lives in a row
        self._is_possible = True
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    @property
    def sees_it(self) -> bool:
        """Whether a connection is there that says so; not where the server lets nobody watch it."""
        return bool(self._held)

    async def open(self) -> None:
        """Hold a connection if there is none; without effect if nobody listens.

        Raises:
            Starved: we lack files, memory or ports for it.
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
        """Watch no more; nothing is called after this."""
        self._is_closed = True
        self.is_open = False
        self._cancel()
        for held in self._held:
            held.close()
        self._held = []

    def lost(self, held: "_Held") -> None:
        """The server closed a connection."""
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
                "%s:%d closes idle connections at once: whether another process listens there is seen by probes alone",
                self._host,
                self._port,
            )
        self.is_open = False
        self.losses += 1
        self._on_lost()

    # within

    def _plan(self) -> None:
        """Renew when it is time."""
        if self._timer is not None:
            self._timer.cancel()
        at = renewal_at(self._held[0].opened_at, self._held[-1].opened_at, self._apart_s)
        self._timer = self._loop.call_at(at, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._renewing is None or self._renewing.done():
            self._renewing = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        """Another connection; the oldest and that one stay."""
        held = None
        with suppress(Starved):
            held = await self._connect()
        await asyncio.sleep(0)  # what was closed before it was accepted is known then
        if held is None or not held.is_there or not self._held:
            if held is not None:  # nobody is left who could say whose it is
                held.close()
            self._timer = self._loop.call_later(self._apart_s, self._begin) if self._held else None
            return
        for other in self._held[1:]:
            other.close()
        self._held = [self._held[0], held]
        self._plan()

    async def _connect(self) -> "_Held | None":
        """A connection; None if nobody listens."""
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
    """One connection."""

    def __init__(self, watch: Watch) -> None:
        self.opened_at = 0.0
        self._watch: Watch | None = watch
        self._transport: asyncio.Transport | None = None

    @property
    def is_there(self) -> bool:
        """Whether it is open."""
        return self._transport is not None

    def close(self) -> None:
        """Hold it no more."""
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
        del exc  # how it ended is all the same
        self._transport = None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.lost(self)

    def data_received(self, data: bytes) -> None:
        """Nobody asked: some servers say why they are about to close it."""

    def eof_received(self) -> None:
        """The server closes it."""

    def pause_writing(self) -> None:
        """Nothing is written."""

    def resume_writing(self) -> None:
        """Nothing is written."""
