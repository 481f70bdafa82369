"""The gateway's listening socket, which a successor can take over."""

import asyncio
import logging
import socket

from embedfleet.gateway.settings import GatewaySettings
from embedfleet.http.server import Server, bind

log = logging.getLogger(__name__)


class Listener:
    """A gateway's listening socket, its own or inherited.

    Args:
        server: Server for the clients.
        settings: Settings that name the address or the inherited socket.

    Attributes:
        is_over: Event that ends the gateway; set by a signal, or when the gateway has retired and its last client has
            gone.
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
        """Start to accept clients, unless already started."""
        if not self._is_open:
            self._is_open = True
            await self._server.accept(self._socket)
            log.info("listening on %s, port %d", self._host, self.port)

    def open_soon(self) -> None:
        """Start to accept clients on the next turn of the event loop."""
        self._opening = asyncio.get_running_loop().create_task(self.open())

    def retire(self) -> None:
        """Stop accepting clients, because a successor accepts them; end the gateway once the last client has gone."""
        if self._retiring is None:
            log.info("retired: a successor accepts clients, %d clients are still connected", self._server.connections)
            self._retiring = asyncio.get_running_loop().create_task(self._retire())

    async def _retire(self) -> None:
        await self._server.retire()
        self.is_over.set()
