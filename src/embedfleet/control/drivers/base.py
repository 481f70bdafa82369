"""Interface of drivers, which start and stop children on one substrate."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.plan.specs import ChildSpec


@dataclass(frozen=True, slots=True)
class Found:
    """A child that runs before the fleet has started it.

    Attributes:
        url: Where it listens; empty if it does not.
        is_stale: It differs from its spec.
        has_other_model: It serves another model than its spec says; it and its successor must never serve side by side.
    """

    url: str
    is_stale: bool
    has_other_model: bool = False


class Running(Protocol):
    """One run of a child.

    Attributes:
        pid: Process id; 0 if the process is not on this machine.
        ready: URL by which this machine reaches it, once it listens; never set if it ends before.
        ended: Exit code, negative for a signal, once it has ended.
        held: Why it stands still on somebody's order; empty if it does not.
    """

    pid: int
    ready: asyncio.Future[str]
    ended: asyncio.Future[int]
    held: str

    async def stop(self, grace_s: float) -> None:
        """Tell it to end, wait for its end, and kill it after ``grace_s`` seconds; nothing of it is left."""

    def kill(self) -> None:
        """End it now."""

    def activity(self) -> Activity | None:
        """Work of its processes so far; None if this machine cannot tell."""

    def kill_hung(self) -> None:
        """Kill all its processes now; the driver can start it anew in its place."""

    def abandon(self) -> None:
        """Leave it running if it can live without the fleet, else end it."""


class Driver(Protocol):
    """A driver of one substrate.

    Attributes:
        can_restart: Whether a child that hangs can be killed and started anew.
    """

    can_restart: bool

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> Running:
        """Start a child, or take over one that runs as its spec says.

        Args:
            spec: What to run.
            preferred_port: Port where it listened before; 0 if it never did.

        Raises:
            OSError: It cannot be started now.
            UsageError: It can never be started like this.
        """

    async def find(self, spec: ChildSpec) -> Found | None:
        """Find a child that runs under this name already, because it outlived an earlier fleet.

        Raises:
            UsageError: What runs under this name is not the fleet's own.
            DockerError: The daemon cannot be asked.
        """

    async def clear(self, spec: ChildSpec) -> None:
        """End what was found under a child's name, even if it does not answer.

        Raises:
            OSError: It cannot be ended now.
        """

    def allow_new_model(self, service: str) -> None:
        """Let the children of a service start with another model than before, for a while from now on."""
