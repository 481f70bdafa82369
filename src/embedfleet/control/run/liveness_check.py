"""What a child is asked so that it shows that it lives: something that takes no inference."""

from collections.abc import Callable

from embedfleet.control.balancers.base import Balancer
from embedfleet.control.plan.specs import ChildSpec
from embedfleet.errors import TimedOut
from embedfleet.http.client import fetch

_ANSWER_S = 10.0  # how long the silence lasts is told by those who look, so that a late answer is one too


class LivenessCheck:
    """Put again and again to one child.

    Args:
        spec: of the child.
        balancer: of its service; the child itself, or one that may have had answers of it.
        url: tells where it listens.
        timeout_s: of one question.
    """

    def __init__(
        self, spec: ChildSpec, balancer: Balancer, url: Callable[[], str], timeout_s: float = _ANSWER_S
    ) -> None:
        self._spec = spec
        self._balancer = balancer
        self._url = url
        self._timeout_s = timeout_s
        self._answers = 0  # that the balancer had of it when it was asked last

    async def put(self) -> None:
        """Return once it answers.

        Of TEI's paths /health waits behind the batch that runs, /info does not.

        Raises:
            UpstreamError: it does not.
        """
        if self._spec.kind == "balancer":
            await self._balancer.ask(self._timeout_s)
            return
        try:
            await fetch(f"{self._url()}/info", timeout_s=self._timeout_s)
        except TimedOut:  # it may have no file left for a connection of ours, and yet serve on those that it has
            if not await self._has_served():
                raise

    async def _has_served(self) -> bool:
        """Whether a gateway that says that it serves has had answers of it since the last time we asked."""
        rows = {row["id"]: row for row in await self._balancer.states()}
        row = rows.get(self._spec.name, {})
        before, self._answers = self._answers, row.get("sent", 0) - row.get("requests", 0)
        return row.get("state") == "active" and 0 < before < self._answers
