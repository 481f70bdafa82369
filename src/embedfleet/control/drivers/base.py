"""What starts and stops children on one substrate."""

import asyncio
from typing import Protocol

from embedfleet.control.plan import ChildSpec


class Running(Protocol):
    """A child that was started.

    Attributes:
        pid: of its process.
        ready: the port it listens on, once it does; never set if it ends before.
        ended: its exit code, negative for a signal, once it has ended.
    """

    pid: int
    ready: asyncio.Future[int]
    ended: asyncio.Future[int]

    async def stop(self, grace_s: float) -> None:
        """Tell it to end, wait for it, and end it after ``grace_s`` seconds."""

    def kill(self) -> None:
        """End it now."""


class Driver(Protocol):
    """See the module."""

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> Running:
        """Start a child.

        Args:
            spec: what to run.
            preferred_port: where it listened before, 0 if it never did.

        Raises:
            OSError: it cannot be started.
        """
