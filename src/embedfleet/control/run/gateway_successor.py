"""A gateway that is to take another's place: started beside it, told its replicas, let in once it serves by as many."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
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
from embedfleet.types import Endpoint

_LOOK_S = 0.05
_LATER = "--listen-later"
_HINT = "the former one goes on; see `embedfleet logs`"

Members = Callable[[], tuple[list[Endpoint], AbstractSet[str]]]


class GatewaySuccessor:
    """A gateway that runs and accepts nobody yet.

    Args:
        spec: by which it is started again if it dies once it has taken over.
        running: its process.
        balancer: it, as it is told and asked.
    """

    def __init__(self, spec: ProcessSpec, running: Running, balancer: GatewayBalancer) -> None:
        self.spec = spec
        self.running = running
        self.balancer = balancer

    @classmethod
    async def start(cls, driver: Driver, spec: ProcessSpec, number: int) -> "GatewaySuccessor":
        """Start one.

        Args:
            driver: of processes.
            spec: of the gateway.
            number: tells its admin socket from those of the ones before it.

        Raises:
            OSError: it cannot be started now.
        """
        admin = Path(spec.admin).with_suffix(f".{number}.sock")
        own = replace(spec, admin=str(admin))
        running = await driver.start(later(own), preferred_port=0)
        # One that is killed leaves its socket behind.
        running.ended.add_done_callback(lambda _: admin.unlink(missing_ok=True))
        return cls(own, running, GatewayBalancer(str(admin)))

    async def learn(self, members: Members, former: Balancer, timeout_s: float) -> None:
        """Tell it its replicas, and wait until all that serve by the former gateway have inferred for it.

        Args:
            members: where the replicas are now, and the names of those that are drained.
            former: the gateway whose place it is to take.
            timeout_s: longest wait, in seconds.

        Raises:
            FleetError: it ended, or they have not in time.
        """
        waiting: set[str] = set()
        try:
            async with asyncio.timeout(timeout_s):
                told: list[asyncio.Future[Any]] = [self.running.ready, self.running.ended]
                await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
                while not self.running.ended.done():
                    with suppress(UpstreamError):  # it is busy: once more
                        await self.balancer.publish(*members())
                        waiting = still_to_infer(await former.states(), await self.balancer.states())
                        if not waiting:
                            if isinstance(former, GatewayBalancer):
                                await self.balancer.inherit(former)
                            return
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            said = f"still to infer for it: {', '.join(sorted(waiting))}" if waiting else "it does not listen"
            raise FleetError(f"the new gateway does not serve after {timeout_s:g} s; {said}", _HINT) from None
        raise FleetError(f"the new gateway ended with code {self.running.ended.result()}", _HINT)


def still_to_infer(former: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """The names of replicas that serve by one gateway and do not yet by the next.

    Args:
        former: what the first says of its replicas; nothing if it cannot be asked: then one at least has to serve.
        rows: what the next says.
    """
    former, rows = list(former), list(rows)
    if not former and not _active(rows):
        return {str(row["id"]) for row in rows}
    return _active(former) - _active(rows)


def later(spec: ChildSpec) -> ProcessSpec:
    """A gateway's spec, of one that accepts nobody before it is told to."""
    assert isinstance(spec, ProcessSpec), "only processes of ours can wait"
    return replace(spec, arguments=(*spec.arguments, _LATER))


def _active(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(row["id"]) for row in rows if row["state"] == "active"}
