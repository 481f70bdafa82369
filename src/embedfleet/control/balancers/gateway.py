"""A gateway: it proves the replicas' health itself, and is told and asked over its admin socket."""

import os
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

import orjson

from embedfleet.control.balancers.gateway_folder import GatewayFolder, socket_in
from embedfleet.errors import Malformed, UpstreamError
from embedfleet.http.client import Reply, fetch
from embedfleet.probe.pool_model import CHANGE_ALLOWED_S
from embedfleet.types import Endpoint

_OK = 200
_TIMEOUT_S = 5.0
_STATES_S = 2.0  # whoever wants to see how it does is told soon that it does not say


class GatewayBalancer:
    """A gateway that is a process; see `base.Balancer`.

    Args:
        socket: path of its admin socket.
    """

    may_start = True

    def __init__(self, socket: str) -> None:
        self._socket = f"http+unix://{socket}:"
        self._new_model_until = 0.0  # an operator has said so
        self._drained: frozenset[str] = frozenset()  # as it was told last

    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """See `base.Balancer`; of replicas that nobody has drained nothing is said."""
        said = drained | self._drained
        await self._tell([_row(endpoint, drained if endpoint.id in said else None) for endpoint in endpoints])
        self._drained = frozenset(drained)

    async def states(self) -> list[dict[str, Any]]:
        """See `base.Balancer`; empty while it cannot be asked."""
        try:
            reply = await self._call("/replicas", timeout_s=_STATES_S)
        except UpstreamError:
            return []
        rows: list[dict[str, Any]] = orjson.loads(reply.body)
        return rows

    async def ask(self, timeout_s: float) -> None:
        """See `base.Balancer`."""
        await self._call("/replicas", timeout_s=timeout_s)

    async def allow_new_model(self) -> None:
        """See `base.Balancer`."""
        await self._call("/new-model", method="POST")
        self._new_model_until = time.monotonic() + CHANGE_ALLOWED_S

    async def inherit(self, former: "GatewayBalancer") -> None:
        """Tell it what an operator has told a former gateway and what holds yet.

        Raises:
            UpstreamError: it cannot be told now.
        """
        if time.monotonic() < former._new_model_until:  # noqa: SLF001 - one of ours
            await self.allow_new_model()

    async def close(self) -> None:
        """See `base.Balancer`: there is nothing to do."""

    async def listen(self) -> None:
        """Have a gateway that was started with ``--listen-later`` accept clients.

        Raises:
            UpstreamError: it cannot be told now.
        """
        await self._call("/listen", method="POST")

    async def retire(self) -> None:
        """Have it accept clients no more, and end once the last of them has gone.

        Raises:
            UpstreamError: it cannot be told now.
        """
        await self._call("/retire", method="POST")

    async def _tell(self, rows: Sequence[Mapping[str, Any]]) -> None:
        await self._call("/replicas", method="PUT", body=orjson.dumps(rows))

    async def _call(self, path: str, *, method: str = "GET", body: bytes = b"", timeout_s: float = _TIMEOUT_S) -> Reply:
        """Its answer.

        Raises:
            UpstreamError: it gives none, or does not do it.
        """
        reply = await fetch(f"{self._socket}{path}", method=method, body=body, timeout_s=timeout_s)
        if reply.status != _OK:
            raise Malformed(f"{method} {path} was answered {reply.status} {reply.body[:200].decode(errors='replace')}")
        return reply


class ContainedGateway(GatewayBalancer):
    """A gateway in a container, which may have been there before us; see `base.Balancer`.

    Args:
        folder: that it shares with us; prepared.
        addresses: the URL of each replica of the plan as the container reaches it.
    """

    def __init__(self, folder: GatewayFolder, addresses: Mapping[str, str]) -> None:
        self._descriptor = folder.open()
        super().__init__(socket_in(self._descriptor))
        self._folder = folder
        self._addresses = addresses
        self._urls: dict[str, str] = {}
        former = {row["id"]: row["url"] for row in folder.keep(addresses)}
        self._former = [Endpoint(name, url) for name, url in former.items() if name not in addresses]

    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """See `base.Balancer`; written down first, so that it starts with what it is told now.

        Of every replica it is said whether it is drained: it may stand by an order that a fleet before us was given.
        While there are none of ours, as when the only one is being replaced, those go on that served before us and are
        not planned any more: they run until all of ours serve.
        """
        self._urls = {endpoint.id: endpoint.url for endpoint in endpoints}
        ours = [Endpoint(endpoint.id, self._addresses[endpoint.id]) for endpoint in endpoints]
        rows = [_row(endpoint, drained) for endpoint in ours or self._former]
        try:
            self._folder.write(rows)
        except OSError as error:  # no room, maybe: a gateway that is told what it could not find again would lose it
            raise UpstreamError(f"{self._folder.path}: {error}") from error
        await self._tell(rows)

    async def states(self) -> list[dict[str, Any]]:
        """See `base.Balancer`; with the URLs by which this machine reaches them."""
        return [row | {"url": self._urls.get(row["id"], row["url"])} for row in await super().states()]

    async def close(self) -> None:
        """See `base.Balancer`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _row(endpoint: Endpoint, drained: AbstractSet[str] | None) -> dict[str, Any]:
    """What a gateway is told of a replica; with None nothing of whether it is drained."""
    return endpoint.to_json() | ({} if drained is None else {"drained": endpoint.id in drained})


async def states_in(folder: GatewayFolder) -> list[dict[str, Any]]:
    """What the gateway of a folder says of its replicas, whoever looks after it; empty if it cannot be asked."""
    with suppress(OSError):
        descriptor = folder.open()
        try:
            return await GatewayBalancer(socket_in(descriptor)).states()
        finally:
            os.close(descriptor)
    return []
