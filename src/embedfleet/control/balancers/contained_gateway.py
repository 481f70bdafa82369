"""Balancer that is our gateway in a container, which may have served an earlier fleet."""

import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace

from typing_extensions import override

from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.balancers.gateway_folder import GatewayFolder, socket_in
from embedfleet.errors import UpstreamError
from embedfleet.types import Endpoint, Member, ReplicaReport


class ContainedGateway(GatewayBalancer):
    """A gateway in a container.

    Args:
        folder: Folder that it shares with this machine; prepared.
        descriptor: Open descriptor of that folder, which `close` closes.
        addresses: URL by which the container reaches each replica of the plan, by name.
        former: Replicas of an earlier fleet that the plan does not have.
    """

    def __init__(
        self, folder: GatewayFolder, descriptor: int, addresses: Mapping[str, str], former: Sequence[Endpoint]
    ) -> None:
        super().__init__(socket_in(descriptor))
        self._descriptor = descriptor
        self._folder = folder
        self._addresses = addresses
        self._former = former
        self._urls: dict[str, str] = {}

    @classmethod
    def open(cls, folder: GatewayFolder, addresses: Mapping[str, str]) -> "ContainedGateway":
        """Open a gateway's folder, and drop from its file the replicas that the plan does not have at that address."""
        descriptor = folder.open()
        former = {member.endpoint.id: member.endpoint.url for member in folder.keep(addresses)}
        others = [Endpoint(name, url) for name, url in former.items() if name not in addresses]
        return cls(folder, descriptor, addresses, others)

    @override
    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """Tell it its replicas, after writing them down: a gateway that starts reads the file.

        The flag ``drained`` is always sent, because an earlier fleet may have set it. While none of the plan's replicas
        runs, for example because the only one is being replaced, the replicas of the earlier fleet go on: they run
        until all of the plan's serve.
        """
        self._urls = {endpoint.id: endpoint.url for endpoint in endpoints}
        planned = [Endpoint(endpoint.id, self._addresses[endpoint.id]) for endpoint in endpoints]
        members = [Member(endpoint, endpoint.id in drained) for endpoint in planned or self._former]
        try:
            self._folder.write(members)
        except OSError as error:  # such as a full disk: a gateway that is told more than the file says would lose it
            raise UpstreamError(f"{self._folder.path}: {error}") from error
        await self._tell(members)

    @override
    async def reports(self) -> Sequence[ReplicaReport]:
        """Its report of each replica, with the URL by which this machine reaches it."""
        return [
            replace(report, endpoint=Endpoint(report.id, self._urls.get(report.id, report.endpoint.url)))
            for report in await super().reports()
        ]

    @override
    async def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


async def reports_in(folder: GatewayFolder) -> Sequence[ReplicaReport]:
    """Reports of the gateway that uses a folder; none if it cannot be asked."""
    with suppress(OSError):
        descriptor = folder.open()
        try:
            return await GatewayBalancer(socket_in(descriptor)).reports()
        finally:
            os.close(descriptor)
    return []
