"""Interface of balancers, one for each service."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from embedfleet.types import Endpoint, ReplicaReport


class Balancer(Protocol):
    """A balancer of one service."""

    @property
    def may_start(self) -> bool:
        """Whether everything is there that it needs to start."""

    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """Tell it its replicas; returns once it acts on that.

        Args:
            endpoints: Addresses of the replicas.
            drained: Names of the replicas that are to get nothing.

        Raises:
            UpstreamError: It cannot be told now, and must be told again.
        """

    async def reports(self) -> Sequence[ReplicaReport]:
        """Its report of each replica; none while it cannot be asked."""

    async def ask(self, timeout_s: float) -> None:
        """Return once it answers.

        Args:
            timeout_s: Longest wait, in seconds.

        Raises:
            UpstreamError: It does not answer.
        """

    async def allow_new_model(self) -> None:
        """Let the next replica of another model decide the model of the pool, because an operator said so.

        Raises:
            UpstreamError: It cannot be told now.
        """

    async def close(self) -> None:
        """Stop looking after it."""
