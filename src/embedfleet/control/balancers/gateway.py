"""A gateway process: it proves the replicas' health itself, and is told and asked over its admin socket."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import orjson

from embedfleet.errors import UpstreamError
from embedfleet.http.client import fetch
from embedfleet.types import Endpoint

_TIMEOUT_S = 5.0


class GatewayBalancer:
    """See `base.Balancer`.

    Args:
        socket: path of its admin socket.
    """

    may_start = True
    can_drain = True

    def __init__(self, socket: str) -> None:
        self._url = f"http+unix://{socket}:/replicas"
        self._drained: frozenset[str] = frozenset()  # as it was told last

    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """See `base.Balancer`; of replicas that nobody has drained nothing is said."""
        rows = [
            endpoint.to_json()
            | ({"drained": endpoint.id in drained} if endpoint.id in drained or endpoint.id in self._drained else {})
            for endpoint in endpoints
        ]
        await fetch(self._url, method="PUT", body=orjson.dumps(rows), timeout_s=_TIMEOUT_S)
        self._drained = frozenset(drained)

    async def states(self) -> list[dict[str, Any]]:
        """See `base.Balancer`; empty while it cannot be asked."""
        try:
            reply = await fetch(self._url, timeout_s=_TIMEOUT_S)
        except UpstreamError:
            return []
        rows: list[dict[str, Any]] = orjson.loads(reply.body)
        return rows

    async def close(self) -> None:
        """See `base.Balancer`: there is nothing to do."""
