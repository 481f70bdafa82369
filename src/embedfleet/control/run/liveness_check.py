"""Asks a child for an answer that takes no inference, to learn whether it lives."""

from collections.abc import Callable

from embedfleet.control.balancers.base import Balancer
from embedfleet.control.plan.specs import ChildSpec
from embedfleet.dialects.routes import path_of
from embedfleet.errors import TimedOut
from embedfleet.http.client import fetch

_ANSWER_S = 10.0  # long: the watchdog measures the silence, so a late answer still counts


class LivenessCheck:
    """A check of one child, made again and again.

    Args:
        spec: Spec of the child.
        balancer: Balancer of the child's service: the child itself, or one that may have had answers from it.
        url: Returns where the child listens.
        timeout_s: Longest wait for one answer, in seconds.
    """

    def __init__(
        self, spec: ChildSpec, balancer: Balancer, url: Callable[[], str], timeout_s: float = _ANSWER_S
    ) -> None:
        self._spec = spec
        self._balancer = balancer
        self._url = url
        self._timeout_s = timeout_s
        self._answers = 0  # number that the balancer had counted at the last check

    async def run(self) -> None:
        """Return once the child answers.

        A replica is asked for ``/info``: TEI answers ``/health`` only after the batch that runs.

        Raises:
            UpstreamError: The child does not answer.
        """
        if self._spec.kind == "balancer":
            await self._balancer.ask(self._timeout_s)
            return
        try:
            await fetch(f"{self._url()}{path_of('info')}", timeout_s=self._timeout_s)
        except TimedOut:  # it may be out of files for a new connection, and yet serve on those that it has
            if not await self._has_served():
                raise

    async def _has_served(self) -> bool:
        """Whether the gateway says that the replica serves, and has had answers from it since the last check."""
        reports = {report.id: report for report in await self._balancer.reports()}
        report = reports.get(self._spec.name)
        before, self._answers = self._answers, report.load.answered if report and report.load else 0
        return report is not None and report.is_active and 0 < before < self._answers
