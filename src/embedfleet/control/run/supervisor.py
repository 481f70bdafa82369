"""The loop that keeps a fleet in accordance with its plan: observe, decide, act, inform the balancers."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

from embedfleet.control.balancers.base import Balancer
from embedfleet.control.drivers.base import Driver
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.lifecycle.reconcile import Start, Stop, next_due, reconcile
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.control.run.child import Child
from embedfleet.control.run.child_runner import ChildLimits, ChildRunner
from embedfleet.control.run.gateway_replacement import GatewayReplacement
from embedfleet.control.run.old_model_removal import OldModelRemoval
from embedfleet.control.run.running_service import RunningService
from embedfleet.errors import EmbedfleetError, UpstreamError, UsageError

_PUBLISH_RETRY_S = 0.1
_TURN_S = 0.25  # between checks whether the next stale replica may be replaced
_TRIM_S = 10.0  # between checks of the logs' size


class Supervisor:
    """Keeps the children of a plan running.

    Args:
        plan: Specs of the children, each with its driver.
        balancers: Interface to the balancer of each service, by name of the service.
        log_files: Logs of the children.
        limits: Time limits of the children.
        listeners: Listening sockets of the gateways.
        new_models: Names of the services whose model may change.

    Attributes:
        children: Children, by name.
        services: Services, by name.
        has_started: Whether all replicas have served, so that the start is over.
    """

    def __init__(
        self,
        plan: Sequence[tuple[ChildSpec, Driver]],
        balancers: Mapping[str, Balancer],
        log_files: LogFiles,
        *,
        limits: ChildLimits,
        listeners: Listeners,
        new_models: AbstractSet[str] = frozenset(),
    ) -> None:
        self.children = {spec.name: Child(spec, driver) for spec, driver in plan}
        self.services = {name: _service(name, self.children.values(), each) for name, each in balancers.items()}
        self.has_started = False
        self._limits = limits
        self._listeners = listeners
        self._log_files = log_files
        self._new_models = new_models
        self._runner = ChildRunner(self.services, log_files, limits, changed=self.wake, give_up=self._give_up)
        self._gateways = GatewayReplacement(self._runner)
        self._old_models = OldModelRemoval(self.wake)
        self._changed = asyncio.Event()
        self._failure: EmbedfleetError | None = None
        self._trimmed = 0.0
        self._trimming: asyncio.Future[None] | None = None

    def replica(self, name: str) -> Child:
        """Return the replica of this name.

        Raises:
            UsageError: There is no such replica.
        """
        replicas = {child.name: child for service in self.services.values() for child in service.replicas}
        if name not in replicas:
            raise UsageError(f"there is no replica {name}", f"there are: {', '.join(replicas) or 'none'}")
        return replicas[name]

    def set_drained(self, replica: Child, *, is_drained: bool) -> None:
        """Keep requests away from a replica, or let it have them again; a restarted balancer learns it too."""
        replica.is_drained = is_drained
        self.services[replica.spec.service].is_published = False
        self.wake()

    def note_served(self, names: Iterable[str]) -> None:
        """Record that these replicas have inferred, which decides what a failed start leaves."""
        for name in names:
            self.children[name].has_served = True

    async def allow_new_model(self) -> None:
        """Let the model of every service change, because an operator allowed it.

        Raises:
            UpstreamError: A balancer does not take the order now.
        """
        for service in self.services.values():
            await service.allow_new_model()

    async def replace_gateway(self, spec: ProcessSpec, timeout_s: float) -> tuple[int, int]:
        """Replace a service's present gateway by a new one, by `GatewayReplacement.replace`.

        Raises:
            FleetError: The new gateway does not serve, or the fleet is being stopped; nothing has changed.
        """
        return await self._gateways.replace(self.services[spec.service], spec, timeout_s)

    def wake(self) -> None:
        """Run the loop once more, because something has changed."""
        self._changed.set()

    def stop(self) -> None:
        """Drain and stop everything; `run` returns when that is done."""
        self._runner.is_stopping = True
        self.wake()

    def fail(self) -> None:
        """Stop the children that this fleet has started, except those that `StartRecord.keeps_running` keeps."""
        for child in self.children.values():
            if child.running is not None and child.start_record.keeps_running:
                child.running.abandon()
        self.stop()

    def kill(self) -> None:
        """End everything now."""
        self.stop()
        for child in self.children.values():
            for running in (*child.retired, child.running):
                if running is not None:
                    running.kill()

    async def run(self) -> None:
        """Keep the fleet running until `stop`.

        Raises:
            EmbedfleetError: A child's configuration is invalid; everything has been stopped.
        """
        await self._find_children()
        while True:
            self._changed.clear()
            if self._runner.is_stopping:
                await self._close_balancers()
            now = time.monotonic()
            held = await self._held()
            observed = {name: child.observed for name, child in self.children.items() if name not in held}
            for action in reconcile(self._wanted(), observed, now, self._limits.backoff):
                match action:
                    case Start(name):
                        await self._runner.start(self.children[name])
                    case Stop(name):
                        self._runner.stop(self.children[name])
            if self._runner.is_stopping and all(child.has_ended for child in self.children.values()):
                break
            await self._publish()
            self._trim_logs(now)
            await self._wait(now, _TURN_S if held else _TRIM_S)
        await self._old_models.finish()
        if self._failure is not None:
            raise self._failure

    async def _find_children(self) -> None:
        """Find the children that outlived an earlier fleet, and end those with another model."""
        for child in self.children.values():
            child.found = await child.driver.find(child.spec)
            if child.found is not None and child.spec.kind == "replica":  # it serves until its turn comes
                child.url = child.found.url
                self.services[child.spec.service].is_published = False
        for service in self.services.values():
            if service.name in self._new_models or service.replaces_other_model:
                with suppress(UpstreamError):  # a balancer that does not run yet knows no model
                    await service.balancer.allow_new_model()
        await self._remove_old_models()

    async def _remove_old_models(self) -> None:
        """End the replicas that serve another model, once the balancers send them nothing more."""
        others = [child for child in self.children.values() if child.replaces_other_model]
        for child in others:
            child.url = ""
        if others:
            await self._publish()
        for service in {child.spec.service for child in others}:
            self._old_models.begin(service, [(c.spec, c.driver) for c in others if c.spec.service == service])

    async def _close_balancers(self) -> None:
        self._listeners.close()
        for service in self.services.values():
            self._gateways.end_retired(service.gateway)
            await service.close()

    def _wanted(self) -> set[str]:
        """Return the names of the children that should run.

        These are all children. When the fleet stops, the balancers end first, so that no replica gets a request while
        it ends.
        """
        if not self._runner.is_stopping:
            return set(self.children)
        if all(service.gateway.observed.phase is Phase.STOPPED for service in self.services.values()):
            return set()
        replicas = (child for service in self.services.values() for child in service.replicas)
        return {child.name for child in replicas if child.running is not None}

    async def _held(self) -> set[str]:
        """Return the names of the children that must not be started yet."""
        if self._runner.is_stopping:
            return set()
        held: set[str] = set()
        for service in self.services.values():
            if self._old_models.is_running(service.name):
                held |= {child.name for child in service.replicas}
            held |= await service.held()
        return held

    def _give_up(self, error: UsageError) -> bool:
        """Stop the fleet with an error that no restart mends, unless it serves already; return whether it stops."""
        if self.has_started:
            return False
        self._failure = error
        self.fail()
        return True

    async def _publish(self) -> None:
        for service in self.services.values():
            await service.publish()

    def _trim_logs(self, now: float) -> None:
        """Trim the logs in a thread, because a disk that hangs must not hold up the fleet."""
        if now - self._trimmed > _TRIM_S and (self._trimming is None or self._trimming.done()):
            self._trimmed = now
            self._trimming = asyncio.get_running_loop().run_in_executor(None, self._log_files.trim_all)

    async def _wait(self, now: float, longest_s: float) -> None:
        """Wait for a change, or until something is due."""
        due = next_due({name: child.observed for name, child in self.children.items()}, self._limits.backoff)
        timeout = longest_s if due is None else min(longest_s, max(0.0, due - now))
        if not all(service.is_published for service in self.services.values()):
            timeout = min(timeout, _PUBLISH_RETRY_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()


def _service(name: str, children: Iterable[Child], balancer: Balancer) -> RunningService:
    own = [child for child in children if child.spec.service == name]
    (gateway,) = (child for child in own if child.spec.kind == "balancer")
    return RunningService(name, gateway, [child for child in own if child.spec.kind == "replica"], balancer)
