"""Interfaces of a driver, which starts and stops children on one substrate, and of a run of a child."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.plan.specs import ChildSpec


@dataclass(frozen=True, slots=True)
class Found:
    """A child that runs already when the fleet starts, because it outlived an earlier fleet.

    Attributes:
        url: URL where it listens; empty if it does not.
        is_stale: Whether it differs from its spec.
        has_other_model: Whether it serves another model than its spec says. Two models must never serve side by side.
    """

    url: str
    is_stale: bool
    has_other_model: bool = False


class Running(Protocol):
    """One run of a child.

    Attributes:
        pid: Process id; 0 if the process is not on this machine.
        ready: URL by which this machine reaches it, once it listens; never set if it ends before that.
        ended: Exit code, negative for a signal, once it has ended.
        pause_reason: Reason why it is paused by an order; empty if it is not.
    """

    pid: int
    ready: asyncio.Future[str]
    ended: asyncio.Future[int]
    pause_reason: str

    async def stop(self, grace_s: float) -> None:
        """Tell it to end, kill it after ``grace_s`` seconds, and wait until nothing of it is left."""

    def kill(self) -> None:
        """End it now."""

    def activity(self) -> Activity | None:
        """Return the work of its processes so far; None if this machine cannot tell."""

    def kill_hung(self) -> None:
        """Kill all its processes now, so that the driver can start it again."""

    def abandon(self) -> None:
        """Leave it running if it can outlive the fleet; otherwise end it."""


class Driver(Protocol):
    """A driver of one substrate.

    Attributes:
        can_restart: Whether a child that hangs can be killed and started again.
    """

    can_restart: bool

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> Running:
        """Start a child, or take over a running one that matches its spec.

        Args:
            spec: Spec of the child.
            preferred_port: Port where it listened before; 0 if it never has.

        Raises:
            OSError: The child cannot be started now.
            UsageError: The child can never be started with this spec.
        """

    async def find(self, spec: ChildSpec) -> Found | None:
        """Find a child that runs under this name already; None if there is none.

        Raises:
            UsageError: The child that runs under this name is not the fleet's own.
            DockerError: The daemon does not answer.
        """

    async def clear(self, spec: ChildSpec) -> None:
        """End the child that was found under this name, even if it does not answer.

        Raises:
            OSError: The child cannot be ended now.
        """

    def allow_new_model(self, service: str) -> None:
        """Let the children of a service start with another model than before, for a limited time."""
