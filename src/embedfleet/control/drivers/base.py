"""What starts and stops children on one substrate."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.plan.specs import ChildSpec


@dataclass(frozen=True, slots=True)
class Found:
    """A child that runs before anybody has started it here.

    Attributes:
        url: where it listens; empty if it does not.
        is_stale: it is not as its spec says.
        has_other_model: it is stale in what it serves: it and its successor must never serve side by side.
    """

    url: str
    is_stale: bool
    has_other_model: bool = False


class Running(Protocol):
    """A child that was started.

    Attributes:
        pid: of its process; 0 if it is not one of this machine's.
        ready: its URL as this machine reaches it, once it listens; never set if it ends before.
        ended: its exit code, negative for a signal, once it has ended.
        held: why it stands still by somebody's order; empty if it does not.
    """

    pid: int
    ready: asyncio.Future[str]
    ended: asyncio.Future[int]
    held: str

    async def stop(self, grace_s: float) -> None:
        """Tell it to end, wait for it, and end it after ``grace_s`` seconds; nothing is left of it."""

    def kill(self) -> None:
        """End it now."""

    def activity(self) -> Activity | None:
        """What its processes have done; None if this machine cannot tell."""

    def kill_hung(self) -> None:
        """End it now, all its processes; its driver can start it anew in its place."""

    def abandon(self) -> None:
        """Leave it as it is if it can live without us, else end it."""


class Driver(Protocol):
    """See the module."""

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> Running:
        """Start a child, or take over one that runs as it should.

        Args:
            spec: what to run.
            preferred_port: where it listened before, 0 if it never did.

        Raises:
            OSError: it cannot be started now.
            UsageError: it cannot be started at all.
        """

    async def find(self, spec: ChildSpec) -> Found | None:
        """The child that runs under that name already, if one outlived a fleet before us.

        Raises:
            UsageError: what runs there is not ours.
            DockerError: nobody can be asked.
        """

    async def clear(self, spec: ChildSpec) -> None:
        """End what was found in a child's place, answering or not: nothing of another model is left there.

        Raises:
            OSError: it cannot be ended now.
        """

    def allow_new_model(self, service: str) -> None:
        """From now on, and for a while, the children of a service may be started with another model than before."""
