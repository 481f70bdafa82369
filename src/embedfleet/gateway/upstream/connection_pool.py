"""The connections to one replica; the only file that opens sockets for clients' requests."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import cast
from urllib.parse import urlsplit

from typing_extensions import override

from embedfleet.errors import Refused, Reset, Starved, TimedOut
from embedfleet.gateway.upstream.call import Call
from embedfleet.gateway.upstream.connection import Upstream, UpstreamOwner
from embedfleet.gateway.upstream.reply import ReplyMemory
from embedfleet.probe.process_watch import ProcessWatch
from embedfleet.system.kernel_limits import ran_out

# Seconds after which an idle connection is closed. Known servers close it later (ours after 120 s, TEI never), so a
# request seldom meets a connection that is just being closed.
_IDLE_S = 55.0
_CONNECT_S = 5.0


class ConnectionPool(UpstreamOwner):
    """The connections to one replica.

    Args:
        name: Name of the replica.
        url: ``http://host:port``, with an optional path that precedes every target.
        hold_bytes: Size of the largest reply that is held until it is complete.
        timeout_s: Seconds from the send to the end of the reply; for a streamed reply, between any two pieces.
        on_doubt: Function that is called when another process may answer at the address; until `trust`, no new
            connection is used.

    Attributes:
        watch: Idle connections that show when the process at the address ends.
    """

    def __init__(self, name: str, url: str, *, hold_bytes: int, timeout_s: float, on_doubt: Callable[[], None]) -> None:
        parts = urlsplit(url)
        self.name = name
        self.url = url
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.prefix = b" " + parts.path.rstrip("/").encode()
        self.last_line = f"\r\nhost: {self.host}:{self.port}\r\n\r\n".encode()
        self.heads = ReplyMemory()
        self.hold_bytes = hold_bytes
        self.timeout_s = timeout_s
        self.pending = set()
        self._connections: set[Upstream] = set()
        self._idle: list[Upstream] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: list[Call] = []  # pending calls that wait until the process has passed a probe
        self._is_trusted = False
        self._on_doubt = on_doubt
        self.watch = ProcessWatch(self.host, self.port, self._doubt)
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time

    @property
    def is_busy(self) -> bool:
        """Whether calls are in progress."""
        return bool(self.pending) or any(connection.call is not None for connection in self._connections)

    @override
    def send(self, call: Call, data: bytes, now: float, *, is_head: bool) -> None:
        call.pool = self
        call.data = data
        call.deadline = now + self.timeout_s
        call.is_head = is_head
        call.is_resent = False
        while self._idle:
            if self._idle.pop().begin(call):
                return
        self.open_for(call)

    @override
    def open_for(self, call: Call) -> None:
        self.pending.add(call)
        if not self._is_trusted:
            self._await_trust(call)
            return
        task = self._loop.create_task(self._open(call))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, call: Call) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, protocol = await self._loop.create_connection(self._connection, self.host, self.port)
        except (OSError, TimeoutError) as error:
            if call in self.pending:
                # For a call that was sent before, this may mean that the replica died with it.
                kind = Starved if ran_out(error) else Reset if call.is_resent else Refused
                call.fail(kind(f"{self.url}: {error or 'no connection in time'}"))
            return
        connection = cast("Upstream", protocol)
        if call not in self.pending:  # the call was cancelled meanwhile
            connection.close()
            return
        if not self._is_trusted:  # another process may answer at the address
            connection.close()
            self._await_trust(call)
            return
        self.pending.discard(call)
        if not connection.begin(call):
            call.fail(Reset(f"{self.url}: the connection ended before it was used"))

    def unheard(self) -> list[Call]:
        """Return the calls that have no byte of a reply and were not sent on a second connection."""
        calls = [one.call for one in self._connections if one.call is not None and not one.is_heard]
        return [call for call in calls if not call.is_renewed]

    def renew(self, call: Call) -> None:
        """Send a call on a second connection too, because the first may be dead; the first to get a byte counts."""
        call.is_renewed = True
        task = self._loop.create_task(self._open_again(call))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_again(self, call: Call) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, protocol = await self._loop.create_connection(self._connection, self.host, self.port)
        except (OSError, TimeoutError):
            return  # the silent connection may still get a reply
        connection = cast("Upstream", protocol)
        if not self._is_trusted or not call.begin_again(connection):
            connection.close()

    def _await_trust(self, call: Call) -> None:
        """Keep a call until the process has passed a probe; fail it if the former process may have died with it."""
        if call.is_resent:
            call.fail(Reset(f"{self.url}: the connection ended before the reply did"))
        else:
            self._waiting.append(call)

    def trust(self) -> None:
        """Use the process at the address, because it passed a probe and is watched."""
        self._is_trusted = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call in self.pending:
                self.open_for(call)

    def turn_away(self, reason: str) -> None:
        """Refuse the calls that wait for a probe of the process, because the probe failed."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call in self.pending:
                call.fail(Refused(f"{self.url}: {reason}"))

    def _doubt(self) -> None:
        self._is_trusted = False
        self._on_doubt()

    def _connection(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", Upstream(self))

    @override
    def opened(self, connection: Upstream) -> None:
        self._connections.add(connection)

    @override
    def release(self, connection: Upstream) -> None:
        if self._is_closed:
            connection.close()
        else:
            self._idle.append(connection)

    @override
    def drop(self, connection: Upstream) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Fail overdue calls, and close connections that were idle for long; called regularly."""
        under_way = [connection.call for connection in self._connections if connection.call is not None]
        for call in [call for call in {*self.pending, *under_way} if call.deadline < now]:
            connection = call.connection
            call.is_resent = True
            if connection is not None:
                connection.call = None
                connection.close()
            call.fail(TimedOut(f"{self.url}: no answer in {self.timeout_s:g} s"))
        self._close_idle(now - _IDLE_S)
        for one in [one for one in self._connections if one.call is not None and one.call.connection is None]:
            one.call = None  # its second connection was faster, so connections that were idle as long may be dead too
            one.close()
            self._close_idle(one.idle_since)

    def _close_idle(self, since: float) -> None:
        """Close the connections that have been idle since the given time."""
        for connection in [connection for connection in self._idle if connection.idle_since <= since < inf]:
            self._idle.remove(connection)
            connection.close()

    def stood_still(self, seconds: float) -> None:
        """Exclude from all time-outs a period in which the gateway read nothing."""
        for call in {*self.pending, *(one.call for one in self._connections if one.call is not None)}:
            call.deadline += seconds

    def close(self) -> None:
        """Close idle connections now, and each of the others when its call ends."""
        self._is_closed = True
        self.watch.close()
        for connection in self._idle:
            connection.close()
        self._idle.clear()
