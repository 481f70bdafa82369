"""Liveness check, which asks a child for something that needs no inference."""

from collections.abc import Callable

from embedfleet.control.balancers.base import Balancer
from embedfleet.control.plan.specs import ChildSpec
from embedfleet.dialects.routes import path_of
from embedfleet.errors import TimedOut
from embedfleet.http.client import fetch

_ANSWER_S = 10.0  # long: the watchdog measures the silence, so a late answer still counts


class LivenessCheck:
    """The repeated liveness check of one child.

    Args:
        spec: Spec of the child.
        balancer: Interface to the service's balancer, which is the child itself or gets answers from it.
        url: Function that returns the URL where the child listens.
        timeout_s: Longest wait for one answer, in seconds.
    """

    def __init__(
        self, spec: ChildSpec, balancer: Balancer, url: Callable[[], str], timeout_s: float = _ANSWER_S
    ) -> None:
        self._spec = spec
        self._balancer = balancer
        self._url = url
        self._timeout_s = timeout_s
        self._answers = 0  # the balancer's count of answers when the replica was last silent

    async def run(self) -> None:
        """Return once the child answers.

        A replica is asked for ``/info``, because TEI answers ``/health`` only after its present batch.

        Raises:
            UpstreamError: The child does not answer.
        """
        if self._spec.kind == "balancer":
            await self._balancer.ask(self._timeout_s)
            return
        try:
            await fetch(f"{self._url()}{path_of('info')}", timeout_s=self._timeout_s)
        except TimedOut:  # it may lack files for a new connection, but serve on open ones
            if not await self._has_served():
                raise

    async def _has_served(self) -> bool:
        """Whether the gateway reports the replica as active, and has had answers from it since it was last silent."""
        reports = {report.id: report for report in await self._balancer.reports()}
        report = reports.get(self._spec.name)
        before, self._answers = self._answers, report.load.answered if report and report.load else 0
        return report is not None and report.is_active and 0 < before < self._answers
