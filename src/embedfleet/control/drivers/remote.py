"""Servers that somebody else runs: they are ready as soon as they are named, and end when we cease to look."""

import asyncio

from embedfleet.control.drivers.base import Found
from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.plan.specs import ChildSpec, RemoteSpec


class Remote:
    """See `base.Running`."""

    pid = 0
    held = ""

    def __init__(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[str] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.ready.set_result(url)

    async def stop(self, grace_s: float) -> None:  # noqa: ARG002 - nothing is waited for
        """See `base.Running`."""
        self.kill()

    def kill(self) -> None:
        """See `base.Running`."""
        if not self.ended.done():
            self.ended.set_result(0)

    def activity(self) -> Activity | None:
        """See `base.Running`."""
        return None

    def kill_hung(self) -> None:
        """See `base.Running`: whoever runs it may end it."""

    def abandon(self) -> None:
        """See `base.Running`."""
        self.kill()


class RemoteDriver:
    """See `base.Driver`."""

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> Remote:  # noqa: ARG002
        """See `base.Driver`."""
        assert isinstance(spec, RemoteSpec)
        return Remote(spec.url)

    async def find(self, spec: ChildSpec) -> Found | None:  # noqa: ARG002
        """See `base.Driver`."""
        return None

    async def clear(self, spec: ChildSpec) -> None:
        """See `base.Driver`: nothing is found."""

    def allow_new_model(self, service: str) -> None:
        """See `base.Driver`: what it computes is compared, no more."""
