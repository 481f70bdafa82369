"""What the supervisor needs of whatever balances a service."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from embedfleet.types import Endpoint


class Balancer(Protocol):
    """See the module."""

    @property
    def may_start(self) -> bool:
        """Whether everything is there that it needs to be started."""

    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """Tell it where the replicas are, and the names of those that are to get nothing; return once it acts by that.

        Raises:
            UpstreamError: it cannot be told now; to be told again.
        """

    async def states(self) -> list[dict[str, Any]]:
        """Each replica as ``id``, ``url``, ``state``, ``reason`` and, where known, its load; state as the gateway's."""

    async def ask(self, timeout_s: float) -> None:
        """Return once it answers.

        Args:
            timeout_s: longest wait.

        Raises:
            UpstreamError: it does not.
        """

    async def allow_new_model(self) -> None:
        """Tell it that the next replica of another model is of the pool's new one: an operator said so.

        Raises:
            UpstreamError: it cannot be told now.
        """

    async def close(self) -> None:
        """Stop looking after it."""
