"""The entrance of the gateway: what it answers itself, and what it passes to a replica.

Every request passes here, so this is compiled. It is not in `app`, which awaits and is always interpreted.
"""

from collections.abc import Callable, Mapping
from typing import Final

from embedfleet.gateway.own_routes import METHODS, READ_ONLY, READS
from embedfleet.gateway.requests.null_defaults import fill_nulls
from embedfleet.http.cors import CORS, PREFLIGHT, allow
from embedfleet.http.exchange import Exchange

_POST: Final = b"POST"
_QUERY: Final = ord("?")

Own = Callable[[Exchange], None]
"""Handler of a route that the gateway answers itself."""


class Entrance:
    """Answers the gateway's own routes, and passes everything else to the replicas.

    Args:
        pass_on: Receiver of the requests for the replicas.
        own: Handlers of the gateway's own routes, by path.
    """

    def __init__(self, pass_on: Callable[[Exchange], None], own: Mapping[bytes, Own]) -> None:
        self._pass_on = pass_on
        self._own = dict(own)

    def handle(self, exchange: Exchange) -> None:
        """Answer a client's request, or pass it to a replica."""
        method, target = exchange.head.method, exchange.head.target
        path = target if _QUERY not in target else target.partition(b"?")[0]
        if method == _POST and path not in READ_ONLY:
            if exchange.body.find(b"null") >= 0:  # `in` costs twice as much (see `row_ends`)
                exchange.body = fill_nulls(exchange.body)
            self._pass_on(exchange)
        elif method == b"OPTIONS" and path in METHODS:
            exchange.respond(200, [*PREFLIGHT, *allow(METHODS[path])], b"")
        elif path not in self._own:
            self._pass_on(exchange)
        elif method in READS:
            self._own[path](exchange)
        else:
            exchange.respond(405, [*CORS, *allow(METHODS[path])], b"")
