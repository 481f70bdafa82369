"""The admin socket, on which control sets the replicas and reads their state, and the file read at the start."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from embedfleet.gateway.membership import Membership
from embedfleet.gateway.proxy import Proxy
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT, Limits
from embedfleet.http.server import Server

log = logging.getLogger(__name__)

_CONNECTIONS = 16  # each is an open file, and so many are reserved


def obey(proxy: Proxy, membership: Membership) -> None:
    """Set the replicas; those that are to be drained get nothing from the same moment on."""
    proxy.set_members(membership.endpoints)
    for name, is_drained in membership.drained.items():
        (proxy.drain if is_drained else proxy.undrain)(name)


def recall(proxy: Proxy, file: Path) -> None:
    """Set the replicas that a file lists; if it is missing or invalid, the present ones stay."""
    try:
        obey(proxy, Membership.of(file.read_bytes()))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        log.error("%s is of no use: %s", file, error)  # noqa: TRY400 - the message says it all


class Admin:
    """Membership and status of the replicas, on a Unix socket.

    Args:
        proxy: Proxy whose replicas they are.
        status: Returns the state of every replica as the gateway sees it.
        orders: Functions called on a POST to ``/new-model``, ``/listen`` and ``/retire``, by path.

    Attributes:
        server: Server of the socket.
    """

    def __init__(
        self, proxy: Proxy, status: Callable[[], list[dict[str, Any]]], orders: Mapping[str, Callable[[], None]]
    ) -> None:
        self._proxy = proxy
        self._orders = orders
        self._status = status
        self.server = Server(self.handle, Limits(connections=_CONNECTIONS))

    def handle(self, exchange: Exchange) -> None:
        """Answer one request.

        - ``GET /replicas`` returns the state of the replicas.
        - ``PUT /replicas`` takes a JSON list of ``{"id", "url"}`` as the new replicas. A row with ``"drained"`` drains
          or undrains its replica at the same moment, so that a new gateway sends a drained replica nothing. If any row
          is invalid, nothing is done, and a 422 names the fault.
        - ``POST /replicas/{id}/drain`` and ``/undrain`` drain and undrain one replica.
        - ``POST /new-model`` allows another model for ten minutes: the first replica that infers with one makes it the
          pool's, and replicas of the former model get nothing more.
        - ``POST /listen`` begins to accept clients, if the settings postponed that.
        - ``POST /retire`` accepts no more clients, because a successor does, and ends the gateway once the last client
          has gone.
        """
        if exchange.path in self._orders:
            self._order(exchange, self._orders[exchange.path])
            return
        if exchange.path == "/replicas":
            self._members(exchange)
            return
        _, _, place = exchange.path.partition("/replicas/")
        name, _, verb = place.rpartition("/")
        change = {"drain": self._proxy.drain, "undrain": self._proxy.undrain}.get(verb)
        if not name or change is None:
            exchange.respond(
                404,
                [TEXT],
                b"there are /replicas, /replicas/{id}/drain, /replicas/{id}/undrain, /new-model, /listen and /retire",
            )
        elif exchange.method != b"POST":
            exchange.respond(405, [TEXT], b"POST")
        else:
            self._change(exchange, name, change)

    def _order(self, exchange: Exchange, order: Callable[[], None]) -> None:
        if exchange.method != b"POST":
            exchange.respond(405, [TEXT], b"POST")
            return
        order()
        exchange.respond(200, [JSON], orjson.dumps(self._status()))

    def _members(self, exchange: Exchange) -> None:
        if exchange.method == b"GET":
            exchange.respond(200, [JSON], orjson.dumps(self._status()))
        elif exchange.method == b"PUT":
            self._put(exchange)
        else:
            exchange.respond(405, [TEXT], b"GET or PUT")

    def _change(self, exchange: Exchange, name: str, change: Callable[[str], None]) -> None:
        try:
            change(name)
        except KeyError:
            names = ", ".join(self._proxy.dispatcher.replicas) or "none"
            exchange.respond(404, [TEXT], f"there is no replica {name}; there are: {names}".encode())
            return
        exchange.respond(200, [JSON], orjson.dumps(self._status()))

    def _put(self, exchange: Exchange) -> None:
        try:
            membership = Membership.of(exchange.body)
        except ValueError as error:
            exchange.respond(422, [TEXT], str(error).encode())
            return
        obey(self._proxy, membership)
        exchange.respond(200, [JSON], orjson.dumps(self._status()))
