"""Balancer for a service whose gateway is a container, which may have served an earlier fleet."""

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
        folder: Folder that the container shares with this machine; it exists.
        descriptor: Open descriptor of that folder, which `close` closes.
        addresses: URLs by which the container reaches the planned replicas, by replica name.
        former: Replicas of an earlier fleet that are not in the plan.
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
        """Open a gateway's folder, and remove from its file the replicas that the plan lacks or has at another URL."""
        descriptor = folder.open()
        former = {member.endpoint.id: member.endpoint.url for member in folder.keep(addresses)}
        others = [Endpoint(name, url) for name, url in former.items() if name not in addresses]
        return cls(folder, descriptor, addresses, others)

    @override
    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """Write the replicas to the file that a starting gateway reads, then send them to the gateway.

        The flag ``drained`` is always sent, because an earlier fleet may have set it. While no planned replica
        runs, for example because the only one is being replaced, the gateway keeps the replicas of the earlier fleet,
        which run until all planned ones serve.
        """
        self._urls = {endpoint.id: endpoint.url for endpoint in endpoints}
        planned = [Endpoint(endpoint.id, self._addresses[endpoint.id]) for endpoint in endpoints]
        members = [Member(endpoint, endpoint.id in drained) for endpoint in planned or self._former]
        try:
            self._folder.write(members)
        except OSError as error:  # such as a full disk
            # The gateway gets nothing either: at a restart it would lose the replicas that the file lacks.
            raise UpstreamError(f"{self._folder.path}: {error}") from error
        await self._tell(members)

    @override
    async def reports(self) -> Sequence[ReplicaReport]:
        """Return the gateway's report of each replica, with the URL by which this machine reaches the replica."""
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
    """Return the reports of the gateway that uses a folder; empty if it does not answer."""
    with suppress(OSError):
        descriptor = folder.open()
        try:
            return await GatewayBalancer(socket_in(descriptor)).reports()
        finally:
            os.close(descriptor)
    return []
