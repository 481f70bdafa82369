"""A new gateway that is prepared beside the one that it will replace."""

import asyncio
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedfleet.control.balancers.base import Balancer
from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.drivers.base import Driver, Running
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.errors import FleetError, UpstreamError
from embedfleet.types import Endpoint, ReplicaReport

_POLL_S = 0.05
_LATER = "--listen-later"
_HINT = "the former one keeps serving; see `embedfleet logs`"

Members = Callable[[], tuple[list[Endpoint], AbstractSet[str]]]


class GatewaySuccessor:
    """A gateway that runs, but does not accept clients yet.

    Args:
        spec: Spec by which it is restarted if it ends after it has taken over.
        running: Its process.
        balancer: Interface to the gateway.
    """

    def __init__(self, spec: ProcessSpec, running: Running, balancer: GatewayBalancer) -> None:
        self.spec = spec
        self.running = running
        self.balancer = balancer

    @classmethod
    async def start(cls, driver: Driver, spec: ProcessSpec, number: int) -> "GatewaySuccessor":
        """Start a successor.

        Args:
            driver: Driver of processes.
            spec: Spec of the gateway.
            number: Number that makes the path of its admin socket differ from those of earlier gateways.

        Raises:
            OSError: The gateway cannot be started now.
        """
        admin = Path(spec.admin).with_name(f"{spec.service}.{number}.sock")
        own = replace(spec, admin=str(admin))
        running = await driver.start(accepting_later(own), preferred_port=0)
        # A gateway that is killed leaves its socket behind.
        running.ended.add_done_callback(lambda _: admin.unlink(missing_ok=True))
        return cls(own, running, GatewayBalancer(str(admin)))

    async def learn(self, members: Members, former: Balancer, timeout_s: float) -> None:
        """Send it the replicas, and wait until each that serves for the former gateway serves for it too.

        Args:
            members: Function that returns the addresses of the replicas, and the names of the drained ones.
            former: Gateway that it will replace.
            timeout_s: Longest wait, in seconds.

        Raises:
            FleetError: The gateway ended, or does not serve within ``timeout_s`` seconds.
        """
        missing: set[str] = set()
        try:
            async with asyncio.timeout(timeout_s):
                events: list[asyncio.Future[Any]] = [self.running.ready, self.running.ended]
                await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
                while not self.running.ended.done():
                    with suppress(UpstreamError):  # the gateway is busy: try again
                        await self.balancer.publish(*members())
                        missing = still_to_infer(await former.reports(), await self.balancer.reports())
                        if not missing:
                            if isinstance(former, GatewayBalancer):
                                await self.balancer.inherit(former)
                            return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            said = (
                f"replicas that have not inferred for it: {', '.join(sorted(missing))}"
                if missing
                else "it does not listen"
            )
            raise FleetError(f"the new gateway does not serve after {timeout_s:g} s; {said}", _HINT) from None
        raise FleetError(f"the new gateway ended with code {self.running.ended.result()}", _HINT)


def still_to_infer(former: Iterable[ReplicaReport], new: Iterable[ReplicaReport]) -> set[str]:
    """Return the names of the replicas that serve for one gateway and not yet for the next.

    Args:
        former: Reports of the first gateway; empty if it does not answer, in which case one replica must serve.
        new: Reports of the next gateway.
    """
    former, new = list(former), list(new)
    if not former and not _active(new):
        return {report.id for report in new}
    return _active(former) - _active(new)


def accepting_later(spec: ChildSpec) -> ProcessSpec:
    """Return the spec of a gateway that accepts no clients before `GatewayBalancer.listen`."""
    assert isinstance(spec, ProcessSpec), "only gateway processes have this flag"
    return replace(spec, arguments=(*spec.arguments, _LATER))


def _active(reports: Iterable[ReplicaReport]) -> set[str]:
    return {report.id for report in reports if report.is_active}
