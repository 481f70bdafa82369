"""Driver of servers elsewhere, which the fleet neither starts nor stops.

They count as ready at once, and as ended when the fleet ends.
"""

import asyncio

from typing_extensions import override

from embedfleet.control.drivers.base import Driver, Found, Running
from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.plan.specs import ChildSpec, RemoteSpec


class Remote(Running):
    """A server elsewhere, which the fleet neither starts nor stops.

    Args:
        url: URL of the server.
    """

    def __init__(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        self.pid = 0
        self.pause_reason = ""
        self.ready: asyncio.Future[str] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.ready.set_result(url)

    @override
    async def stop(self, grace_s: float) -> None:
        self.kill()

    @override
    def kill(self) -> None:
        if not self.ended.done():
            self.ended.set_result(0)

    @override
    def activity(self) -> Activity | None:
        return None

    @override
    def kill_hung(self) -> None:
        """Do nothing: only its owner can end it."""

    @override
    def abandon(self) -> None:
        self.kill()


class RemoteDriver(Driver):
    """Driver of servers elsewhere."""

    can_restart = False

    @override
    async def start(self, spec: ChildSpec, *, preferred_port: int) -> Remote:
        assert isinstance(spec, RemoteSpec)
        return Remote(spec.url)

    @override
    async def find(self, spec: ChildSpec) -> Found | None:
        return None

    @override
    async def clear(self, spec: ChildSpec) -> None:
        """Do nothing, because nothing is ever found."""

    @override
    def allow_new_model(self, service: str) -> None:
        """Do nothing: the answers of a server show its model, and the balancer compares them."""
