"""The gateway's listening socket: opened at the start or on command, left to a successor, closed at the end."""

import asyncio
import logging
import socket

from embedfleet.gateway.settings import GatewaySettings
from embedfleet.http.server import Server, bind

log = logging.getLogger(__name__)


class Listener:
    """A gateway's listening socket, its own or one that it inherited.

    Args:
        server: Server of the clients.
        settings: Settings that name the address or the inherited socket.

    Attributes:
        is_over: Set when the gateway is to end: by a signal, or once it has retired and its last client has gone.
        port: Port of the socket.

    Raises:
        OSError: The address cannot be bound.
    """

    def __init__(self, server: Server, settings: GatewaySettings) -> None:
        self.is_over = asyncio.Event()
        self._server = server
        self._host = settings.host
        self._socket = (
            socket.socket(fileno=settings.listen_fd) if settings.listen_fd else bind(settings.host, settings.port)
        )
        self._is_open = False
        self.port: int = self._socket.getsockname()[1]
        self._opening: asyncio.Task[None] | None = None
        self._retiring: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Accept clients, unless it does already."""
        if not self._is_open:
            self._is_open = True
            await self._server.accept(self._socket)
            log.info("listening on %s, port %d", self._host, self.port)

    def open_soon(self) -> None:
        """Accept clients from the event loop's next turn on."""
        self._opening = asyncio.get_running_loop().create_task(self.open())

    def retire(self) -> None:
        """Accept no more clients, because a successor does, and end once the last client has gone."""
        if self._retiring is None:
            log.info("retired: a successor accepts, %d clients have yet to go", self._server.connections)
            self._retiring = asyncio.get_running_loop().create_task(self._retire())

    async def _retire(self) -> None:
        await self._server.retire()
        self.is_over.set()
