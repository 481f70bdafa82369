"""Client connections that a replica can reset."""

import asyncio
import socket
import struct

from embedfleet.http.connection import Connection

_ABORT_WITH_RESET = struct.pack("ii", 1, 0)


class Client(Connection):
    """A client's connection that can be reset."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the socket."""
        self._socket: socket.socket | None = transport.get_extra_info("socket")
        super().connection_made(transport)

    def reset(self) -> None:
        """Reset the connection, as the kernel does for a killed process with unread bytes."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_WITH_RESET)
        self.abort()
