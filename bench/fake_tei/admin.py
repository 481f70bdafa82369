"""Faults and the log, on a separate port that answers while the replicas refuse.

- ``GET /stats``: `Replica.stats` of each replica.
- ``GET /log``: ``[text's name, replica's number, monotonic time]`` of each computed text.
- ``DELETE /log``: reset the counts and the log.
- ``POST /fault``: ``{"replica": 0, "kind": "stall", "seconds": 2}``, a `bench.fake_tei.faults.Fault`.
"""

from collections.abc import Sequence

import orjson

from bench.fake_tei.faults import parse_fault
from bench.fake_tei.oracle import name_of
from bench.fake_tei.replica import Replica
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT
from embedfleet.http.server import Server


class Admin:
    """The admin server of all replicas of a process."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas
        self.server = Server(self.handle)

    def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        match exchange.method, exchange.path:
            case b"GET", "/stats":
                exchange.respond(200, [JSON], orjson.dumps([replica.stats() for replica in self._replicas]))
            case b"GET", "/log":
                exchange.respond(200, [JSON], orjson.dumps(self._log()))
            case b"DELETE", "/log":
                for replica in self._replicas:
                    replica.reset_stats()
                exchange.respond(204, [], b"")
            case b"POST", "/fault":
                self._fault(exchange)
            case _:
                exchange.respond(404, [TEXT], b"the routes are GET /stats, GET and DELETE /log, POST /fault")

    def _log(self) -> list[tuple[str, int, float]]:
        numbered = enumerate(self._replicas)
        return [(name_of(text), number, at) for number, replica in numbered for text, at in replica.computed]

    def _fault(self, exchange: Exchange) -> None:
        try:
            fields = orjson.loads(exchange.body)
            replica = self._replicas[int(fields.pop("replica", 0))]
            fault = parse_fault(fields)
        except (ValueError, IndexError, TypeError, AttributeError) as error:
            exchange.respond(422, [TEXT], f"not a fault: {error}".encode())
            return
        replica.suffer(fault)
        exchange.respond(204, [], b"")
