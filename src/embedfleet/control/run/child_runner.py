"""Starts and stops children, and records their events: ready, ended, hung."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.drivers.base import Running
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.lifecycle.phase import Phase, PhaseEvent
from embedfleet.control.lifecycle.reconcile import Backoff
from embedfleet.control.plan.specs import Kind
from embedfleet.control.run.background_tasks import BackgroundTasks
from embedfleet.control.run.child import Child
from embedfleet.control.run.exit_error import exit_error
from embedfleet.control.run.gateway_successor import accepting_later
from embedfleet.control.run.liveness_check import LivenessCheck
from embedfleet.control.run.running_service import RunningService
from embedfleet.control.run.watchdog import Watchdog
from embedfleet.errors import UpstreamError, UsageError

log = logging.getLogger(__name__)

_RETRY_S = 0.1
_ACCEPT_S = 5.0  # a restarted gateway accepts clients after this time even if no replica serves
_USAGE = 2  # exit code of a child whose configuration is invalid: a restart would not help


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Time limits of children.

    Attributes:
        backoff: Waits between restarts.
        stop_grace_s: Time in which a child must end before it is killed, in seconds.
        hung_after_s: Silence, by kind of child, after which an idle child counts as hung, in seconds; 0 for no limit.
    """

    backoff: Backoff
    stop_grace_s: float
    hung_after_s: Mapping[Kind, float]


class ChildRunner:
    """Starts and stops the children of a fleet.

    Args:
        services: Services of the fleet, by name.
        log_files: Logs of the children.
        limits: Time limits.
        changed: Function that is called after every event in a child's life.
        give_up: Function that takes an error that no restart mends; it returns False if the fleet keeps running.

    Attributes:
        tasks: Background tasks beside the supervisor's loop.
        is_stopping: Whether the fleet is stopping, so that the end of a child is no fault.
    """

    def __init__(
        self,
        services: Mapping[str, RunningService],
        log_files: LogFiles,
        limits: ChildLimits,
        *,
        changed: Callable[[], None],
        give_up: Callable[[UsageError], bool],
    ) -> None:
        self.tasks = BackgroundTasks()
        self.is_stopping = False
        self._services = services
        self._log_files = log_files
        self._limits = limits
        self._changed = changed
        self._give_up = give_up

    async def start(self, child: Child) -> None:
        """Start a child; after a failure, the start is tried again after a wait."""
        self.note(child, PhaseEvent.START)
        child.started_at = time.time()
        child.was_started = True
        if child.is_stale and child.observed.restarts == 0:
            child.has_served = False
            await self._withdraw(child)
        is_restarted_gateway = bool(child.observed.restarts) and child.has_held_socket
        try:
            spec = accepting_later(child.spec) if is_restarted_gateway else child.spec
            running = await child.driver.start(spec, preferred_port=child.port)
        except OSError as error:
            self._note_failed_start(child, str(error))
            return
        except UsageError as error:
            if self._give_up(error):
                self.note(child, PhaseEvent.EXIT)
            else:
                self._note_failed_start(child, f"{error.message} ({error.hint})")
            return
        except Exception as error:  # a fault of one child must not stop the others
            log.exception("%s cannot be started", child.name)
            self._note_failed_start(child, repr(error))
            return
        if child.running is not None:  # a successor has replaced it meanwhile
            running.kill()
            return
        child.start_fault = ""
        child.running = running
        self.watch(child, running)
        running.ready.add_done_callback(
            lambda ready: None if ready.cancelled() else self._ready(child, running, ready.result())
        )
        self.expect_end(child, running)

    def stop(self, child: Child) -> None:
        """Tell a child to end."""
        self.note(child, PhaseEvent.STOP)
        if child.running is not None and not child.running.ended.done():
            self.end(child.running)

    def end(self, running: Running) -> None:
        """Tell a run of a child to end, and kill it if it does not end in time."""
        self.tasks.spawn(running.stop(self._limits.stop_grace_s))

    def note(self, child: Child, event: PhaseEvent) -> None:
        """Record an event in a child's life."""
        child.observed = child.observed.after(event, time.monotonic(), self._limits.backoff)
        self._changed()

    def watch(self, child: Child, running: Running) -> None:
        """Watch a run of a child, and kill the run when it hangs."""
        child.hung = ""
        if not child.driver.can_restart:  # its balancer watches it, and the fleet cannot restart it
            return
        child.watchdog = Watchdog(
            running,
            phase=lambda: child.phase_of(running),
            ask=LivenessCheck(child.spec, self._services[child.spec.service].balancer, lambda: child.url).run,
            hung_after_s=self._limits.hung_after_s.get(child.spec.kind, 0.0),
            hung=lambda reason: self._hung(child, running, reason),
        )
        self.tasks.spawn(child.watchdog.watch())

    def expect_end(self, child: Child, running: Running) -> None:
        """Record the end of a run when it comes."""
        running.ended.add_done_callback(lambda ended: self._ended(child, running, ended.result()))

    def _note_failed_start(self, child: Child, why: str) -> None:
        log.error("%s cannot be started: %s", child.name, why)
        child.last_end = child.start_fault = why
        self.note(child, PhaseEvent.EXIT)

    async def _withdraw(self, child: Child) -> None:
        """Make the balancers send nothing more to a replica that is about to be replaced."""
        if child.spec.kind == "replica":
            child.url = ""
            service = self._services[child.spec.service]
            service.is_published = False
            for each in self._services.values():
                await each.publish()

    def _ready(self, child: Child, running: Running, url: str) -> None:
        if child.running is not running:  # a successor has replaced it already
            return
        service = self._services[child.spec.service]
        child.url = url
        self.note(child, PhaseEvent.READY)
        service.is_published = False
        log.info("%s is ready on port %d", child.name, child.port)
        if child.observed.restarts and child.has_held_socket:
            self.tasks.spawn(_accept_clients(service, running))

    def _ended(self, child: Child, running: Running, code: int) -> None:
        if running in child.retired:
            del child.retired[running]
            self._changed()
            return
        was_starting = child.observed.phase is Phase.STARTING
        child.running = None
        child.last_end = f"hung: {child.hung}" if child.hung else f"signal {-code}" if code < 0 else f"code {code}"
        self.note(child, PhaseEvent.EXIT)
        if self.is_stopping:
            return
        log.warning("%s ended with %s", child.name, child.last_end)
        if code == _USAGE and was_starting and child.observed.restarts == 0:
            self._give_up(exit_error(child, self._log_files))

    def _hung(self, child: Child, running: Running, reason: str) -> None:
        is_retired = running in child.retired
        log.error("%s%s hangs and is killed: %s", "the former " if is_retired else "", child.name, reason)
        if not is_retired:
            child.hung = reason
        running.kill_hung()


async def _accept_clients(service: RunningService, running: Running) -> None:
    """Make a restarted gateway accept clients once a replica serves, or after ``_ACCEPT_S`` in any case."""
    balancer = service.balancer
    assert isinstance(balancer, GatewayBalancer), "only a gateway process has a socket that the supervisor holds"
    deadline = time.monotonic() + _ACCEPT_S
    while service.gateway.running is running and not running.ended.done():
        if time.monotonic() > deadline or any(report.is_active for report in await balancer.reports()):
            with suppress(UpstreamError):  # the gateway is busy: try again
                await balancer.listen()
                return
        await asyncio.sleep(_RETRY_S)
