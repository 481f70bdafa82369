"""``python -m bench.relay PORT UPSTREAM_PORT``: a proxy that only forwards bytes.

Each client has its own connection to the upstream; nothing is read, checked, counted or retried. The cost of a request
here is the least that a front door on `asyncio.Protocol` and uvloop can have, and shows what ours adds.
"""

import asyncio
import sys
from typing import cast

import uvloop


class _Side(asyncio.Protocol):
    """One connection of a pair; received bytes go to the other connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self._early: list[bytes] = []  # bytes received before the other side was connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._early.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pair(self, other: "_Side") -> None:
        """Connect two sides; received bytes go to the other from now on."""
        self.other, other.other = other, self
        assert other.transport is not None, "it is connected"
        other.transport.writelines(self._early)


class _Client(_Side):
    def __init__(self, upstream: int, connecting: set["asyncio.Task[None]"]) -> None:
        super().__init__()
        self._upstream = upstream
        self._connecting = connecting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        _, other = await asyncio.get_running_loop().create_connection(_Side, "127.0.0.1", self._upstream)
        self.pair(other)


async def serve(port: int, upstream: int) -> None:
    """Forward bytes until the process is killed."""
    connecting: set[asyncio.Task[None]] = set()
    server = await asyncio.get_running_loop().create_server(lambda: _Client(upstream, connecting), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
