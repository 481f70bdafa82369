"""The admin socket, over which control sets and reads the replicas, and the file that lists the first replicas."""

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
from embedfleet.own_code import is_compiled
from embedfleet.types import CODE_HEADER

log = logging.getLogger(__name__)

_CONNECTIONS = 16  # each is an open file; as many files are reserved


def set_replicas(proxy: Proxy, membership: Membership) -> None:
    """Set the replicas, and drain or undrain them in the same step, so that a drained replica gets nothing."""
    proxy.set_members(membership.endpoints)
    for name, is_drained in membership.drained.items():
        (proxy.drain if is_drained else proxy.undrain)(name)


def restore_replicas(proxy: Proxy, file: Path) -> None:
    """Set the replicas that a file lists; if the file is missing or invalid, the replicas stay as they are."""
    try:
        set_replicas(proxy, Membership.of(file.read_bytes()))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        log.error("%s cannot be used: %s", file, error)  # noqa: TRY400 - the message is enough


class Admin:
    """The server of the admin socket, for membership and status of the replicas.

    Args:
        proxy: Proxy whose replicas are set.
        status: Function that returns the state of every replica as the gateway sees it.
        orders: Functions by path, each called on a POST to its path: ``/new-model``, ``/listen``, ``/retire``.

    Attributes:
        server: Server of the socket.
    """

    def __init__(
        self, proxy: Proxy, status: Callable[[], list[dict[str, Any]]], orders: Mapping[str, Callable[[], None]]
    ) -> None:
        self._proxy = proxy
        self._orders = orders
        self._status = status
        self._headers = [JSON, (CODE_HEADER.encode(), b"compiled" if is_compiled() else b"interpreted")]
        self.server = Server(self.handle, Limits(connections=_CONNECTIONS))

    def handle(self, exchange: Exchange) -> None:
        """Answer one request.

        - ``GET /replicas`` returns the state of the replicas.
        - ``PUT /replicas`` takes a JSON list of ``{"id", "url"}`` as the new replicas. A row with ``"drained"`` drains
          or undrains its replica in the same step, so that a new gateway sends a drained replica nothing. If any row is
          invalid, nothing changes, and a 422 names the fault.
        - ``POST /replicas/{id}/drain`` and ``/undrain`` drain and undrain one replica.
        - ``POST /new-model`` allows a change of model for ten minutes: the first replica that infers with another model
          makes it the pool's, and replicas of the former model get nothing more.
        - ``POST /listen`` starts to accept clients, if the settings postponed that.
        - ``POST /retire`` stops accepting clients, because a successor accepts them, and ends the gateway once the last
          client has gone.
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
            exchange.respond(200, self._headers, orjson.dumps(self._status()))
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
        set_replicas(self._proxy, membership)
        exchange.respond(200, [JSON], orjson.dumps(self._status()))
