"""Replacement of a service's gateway while it runs, without refusing or losing a request.

The present gateway serves until the new one serves with as many replicas. From then on the new one accepts clients, and
the former one ends once its clients have gone.
"""

import asyncio
import logging
import time

from embedfleet.control.balancers.base import Balancer
from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.drivers.base import Running
from embedfleet.control.lifecycle.phase import Phase, PhaseEvent
from embedfleet.control.plan.specs import ProcessSpec
from embedfleet.control.run.child import Child
from embedfleet.control.run.child_runner import ChildRunner
from embedfleet.control.run.gateway_successor import GatewaySuccessor
from embedfleet.control.run.running_service import RunningService
from embedfleet.errors import FleetError, UpstreamError

log = logging.getLogger(__name__)

_MOST_RETIRED = 3  # per service; beyond that the oldest one is stopped, because its clients are idle by then
_TO_READY: dict[Phase, tuple[PhaseEvent, ...]] = {  # events that bring a child to the phase of its successor
    Phase.PENDING: (PhaseEvent.START, PhaseEvent.READY),
    Phase.STARTING: (PhaseEvent.READY,),
    Phase.READY: (),
    Phase.BACKOFF: (PhaseEvent.START, PhaseEvent.READY),
}


class GatewayReplacement:
    """Replaces gateways of a fleet, one at a time.

    Args:
        runner: Runner of the fleet's children.
    """

    def __init__(self, runner: ChildRunner) -> None:
        self._runner = runner
        self._turn = asyncio.Lock()

    async def replace(self, service: RunningService, spec: ProcessSpec, timeout_s: float) -> tuple[int, int]:
        """Replace a service's present gateway by a new one.

        Args:
            service: Service whose gateway is replaced.
            spec: Spec of the new gateway.
            timeout_s: Longest wait until the new gateway serves, in seconds.

        Returns:
            Process ids of the former gateway, 0 if none ran, and of the new one.

        Raises:
            FleetError: The new gateway does not serve, or the fleet is being stopped; nothing has changed.
        """
        async with self._turn:
            self._refuse_if_stopping()
            child, former = service.gateway, service.balancer
            child.successors += 1
            try:
                successor = await GatewaySuccessor.start(child.driver, spec, child.successors)
            except OSError as error:
                raise FleetError(f"a new gateway cannot be started: {error}", "the former one keeps serving") from error
            try:
                await successor.learn(service.members, former, timeout_s)
                self._refuse_if_stopping()
                await successor.balancer.listen()
                self._refuse_if_stopping()
            except UpstreamError as error:
                successor.running.kill()
                raise FleetError(
                    f"the new gateway does not take the order to listen: {error}", "the former one keeps serving"
                ) from error
            except BaseException:
                successor.running.kill()
                raise
            before = child.running
            self._install(service, successor)
            if before is not None:
                await self._retire(child, before, former)
            return before.pid if before is not None else 0, successor.running.pid

    def end_retired(self, child: Child, keep: int = 0) -> None:
        """End the oldest former gateways of a child, and leave the ``keep`` newest ones."""
        for running in list(child.retired)[: max(0, len(child.retired) - keep)]:
            self._end(child, running)

    def _refuse_if_stopping(self) -> None:
        if self._runner.is_stopping:
            raise FleetError("the fleet is being stopped", "nothing has changed")

    def _install(self, service: RunningService, successor: GatewaySuccessor) -> None:
        """Make the successor the gateway of its service."""
        child, running = service.gateway, successor.running
        self._runner.expect_end(child, running)
        if child.running is not None:
            child.retired[child.running] = False
        child.spec, child.running = successor.spec, running
        child.url = running.ready.result()
        child.started_at = time.time()
        for event in _TO_READY[child.observed.phase]:
            self._runner.note(child, event)
        service.balancer = successor.balancer
        self._runner.watch(child, running)
        service.is_published = False

    async def _retire(self, child: Child, running: Running, former: Balancer) -> None:
        """Make a former gateway end once its clients have gone; stop it now if it does not take the order."""
        try:
            if isinstance(former, GatewayBalancer):
                await former.retire()
        except UpstreamError as error:
            log.warning(
                "the former %s (pid %d) does not take the order to retire, and is stopped: %s",
                child.name,
                running.pid,
                error,
            )
            self._end(child, running)
        self.end_retired(child, keep=0 if self._runner.is_stopping else _MOST_RETIRED)

    def _end(self, child: Child, retired: Running) -> None:
        if child.retired.get(retired) is False:
            child.retired[retired] = True
            self._runner.end(retired)
