"""Interface of balancers; each service has one."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from embedfleet.types import Endpoint, ReplicaReport


class Balancer(Protocol):
    """A balancer of one service.

    Attributes:
        code: "compiled" or "interpreted", as a gateway reported last; empty for nginx.
    """

    code: str = ""

    @property
    def may_start(self) -> bool:
        """Whether the balancer has everything that it needs to start."""

    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """Set the balancer's replicas; return once the change is in effect.

        Args:
            endpoints: Addresses of the replicas.
            drained: Names of the replicas that get no requests.

        Raises:
            UpstreamError: The balancer does not take the change now; the caller must try again.
        """

    async def reports(self) -> Sequence[ReplicaReport]:
        """Return the balancer's report of each replica; empty while it does not answer."""

    async def ask(self, timeout_s: float) -> None:
        """Return once the balancer answers.

        Args:
            timeout_s: Longest wait, in seconds.

        Raises:
            UpstreamError: The balancer does not answer in time.
        """

    async def allow_new_model(self) -> None:
        """Let the next replica with another model set the pool's model, because an operator allowed it.

        Raises:
            UpstreamError: The balancer does not take the order now.
        """

    async def close(self) -> None:
        """Stop watching the balancer, and release what this object holds; the balancer keeps running."""
