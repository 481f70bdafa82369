"""The one loop that keeps a fleet as it should be: observe, reconcile, act, publish."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

from embedfleet.control.balancers.base import Balancer
from embedfleet.control.balancers.gateway import GatewayBalancer
from embedfleet.control.drivers.base import Driver, Running
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.lifecycle.phase import Phase, PhaseEvent
from embedfleet.control.lifecycle.reconcile import Backoff, Start, Stop, next_due, reconcile
from embedfleet.control.plan.specs import ChildSpec, Kind, ProcessSpec, RemoteSpec
from embedfleet.control.run.child import Child
from embedfleet.control.run.gateway_successor import GatewaySuccessor, later
from embedfleet.control.run.liveness_check import LivenessCheck
from embedfleet.control.run.old_model_removal import OldModelRemoval
from embedfleet.control.run.watchdog import Watchdog
from embedfleet.errors import EmbedfleetError, FleetError, UpstreamError, UsageError
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_PUBLISH_RETRY_S = 0.1
_ROLL_S = 0.25  # between looks at whether the next replica may be replaced
_TRIM_S = 10.0
_LET_IN_S = 5.0  # a gateway that was started again accepts after, though no replica serves
_MOST_RETIRED = 3  # gateways of a service at a time; the oldest is then stopped, with clients of its own that are idle
_TO_READY: dict[Phase, tuple[PhaseEvent, ...]] = {  # what happens to a child that has a successor
    Phase.PENDING: (PhaseEvent.START, PhaseEvent.READY),
    Phase.STARTING: (PhaseEvent.READY,),
    Phase.READY: (),
    Phase.BACKOFF: (PhaseEvent.START, PhaseEvent.READY),
}
_USAGE = 2  # exit code of a child that cannot work as it was told to, however often it is started


class Supervisor:
    """See the module.

    Args:
        plan: the children, each with what runs it.
        balancers: by service.
        log_files: where their logs are.
        backoff: waits between restarts.
        listeners: sockets that its gateways accept from.
        stop_grace_s: before a child that was told to end is killed.
        hung_after_s: how long a child of a kind may be silent and do nothing; 0 for as long as it likes.
        new_models: services that may have another model than before: an operator says so.
    """

    def __init__(
        self,
        plan: Sequence[tuple[ChildSpec, Driver]],
        balancers: Mapping[str, Balancer],
        log_files: LogFiles,
        *,
        backoff: Backoff,
        listeners: Listeners,
        stop_grace_s: float,
        hung_after_s: Mapping[Kind, float],
        new_models: AbstractSet[str] = frozenset(),
    ) -> None:
        self.children = {spec.name: Child(spec, driver) for spec, driver in plan}
        self.serves = False  # everything came up, and whoever started us has been told
        self._balancers = dict(balancers)
        self._listeners = listeners
        self._replacing = asyncio.Lock()
        self._log_files = log_files
        self._backoff = backoff
        self._stop_grace_s = stop_grace_s
        self._hung_after_s = hung_after_s
        self._new_models = new_models
        self._clearing = OldModelRemoval(self.wake)
        self._changed = asyncio.Event()
        self._stopping = False
        self._failure: EmbedfleetError | None = None
        self._unpublished: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._trimmed = 0.0
        self._trimming: asyncio.Future[None] | None = None

    @property
    def services(self) -> list[str]:
        """Names of the services."""
        return list(dict.fromkeys(child.spec.service for child in self.children.values()))

    def balancer(self, service: str) -> Child:
        """The child that clients of a service talk to."""
        (found,) = (c for c in self.children.values() if c.spec.service == service and c.spec.kind == "balancer")
        return found

    def replicas(self, service: str) -> list[Child]:
        """The children that do a service's work."""
        return [c for c in self.children.values() if c.spec.service == service and c.spec.kind == "replica"]

    async def states(self, service: str) -> dict[str, dict[str, Any]]:
        """What a service's balancer says of each replica, by name.

        One that waits to be replaced is ``outdated``. One that has ended is not active, though a balancer that probes
        now and then may not know it yet; nor is one that does not answer us. Likewise one that is to be drained is
        draining before its balancer knows.
        """
        rows = {str(row["id"]): row for row in await self._balancers[service].states()}
        for child in self.replicas(service):
            row = rows.get(child.spec.name)
            if row is None:
                continue
            if child.cannot_start:
                row["reason"] = child.cannot_start
            if child.drained:
                row["state"] = "drained" if row["state"] == "drained" else "draining"
            elif child.is_to_be_replaced:
                row["state"] = "outdated"
            elif child.was_started and child.observed.phase is not Phase.READY:
                row["state"] = child.observed.phase.value
            elif child.complaint:  # we know better why than who only waits for an answer
                row["state"], row["reason"] = "silent" if row["state"] == "active" else row["state"], child.complaint
        return rows

    def set_drained(self, replica: Child, *, drained: bool) -> None:
        """Keep a replica out from now on, or no more; its balancer is told, and told again whenever it is started."""
        replica.drained = drained
        self._unpublished.add(replica.spec.service)
        self.wake()

    async def allow_new_model(self, services: Iterable[str]) -> None:
        """Tell the balancers of these services that their pool's model may change: an operator said so.

        Raises:
            UpstreamError: one cannot be told now.
        """
        for service in services:
            for child in self.replicas(service):
                child.driver.allow_new_model(service)
            await self._balancers[service].allow_new_model()

    def wake(self) -> None:
        """Something has changed that the loop may have to act on."""
        self._changed.set()

    def stop(self) -> None:
        """Drain and stop everything; `run` returns when it is done."""
        self._stopping = True
        self._changed.set()

    def fail(self) -> None:
        """Stop what this fleet has started; what served before it came, or in place of that, is left to go on."""
        for child in self.children.values():
            if child.is_kept and child.running is not None:
                child.running.abandon()
        self.stop()

    def kill(self) -> None:
        """End everything now."""
        self.stop()
        for child in self.children.values():
            for running in (*child.retired, child.running):
                if running is not None:
                    running.kill()

    async def replace_gateway(self, spec: ProcessSpec, timeout_s: float) -> tuple[int, int]:
        """Put a new gateway in the place of a service's present one, without a request being refused or lost.

        The present one goes on until the new one serves by as many replicas; from then on the new one accepts, and the
        other ends once its clients have gone. One at a time.

        Args:
            spec: of the new one.
            timeout_s: longest wait until it serves, in seconds.

        Returns:
            Process ids of the former one, 0 if none ran, and of the new one.

        Raises:
            FleetError: it does not serve, or the fleet is being stopped; nothing has changed.
        """
        async with self._replacing:
            self._refuse_if_stopping()
            child = self.balancer(spec.service)
            child.successors += 1
            try:
                successor = await GatewaySuccessor.start(child.driver, spec, child.successors)
            except OSError as error:
                raise FleetError(f"a new gateway cannot be started: {error}", "the former one goes on") from error
            try:
                former = self._balancers[spec.service]
                await successor.learn(lambda: self._members(spec.service), former, timeout_s)
                self._refuse_if_stopping()
                await successor.balancer.listen()
                self._refuse_if_stopping()
            except UpstreamError as error:
                successor.running.kill()
                raise FleetError(
                    f"the new gateway cannot be told to listen: {error}", "the former one goes on"
                ) from error
            except BaseException:
                successor.running.kill()
                raise
            before, former = child.running, self._balancers[spec.service]
            self._succeed(child, successor)
            if before is not None:
                await self._retire(child, before, former)
            return before.pid if before is not None else 0, successor.running.pid

    def _refuse_if_stopping(self) -> None:
        if self._stopping:
            raise FleetError("the fleet is being stopped", "nothing has changed")

    def _succeed(self, child: Child, successor: GatewaySuccessor) -> None:
        """The successor is the child's gateway from now on."""
        running = successor.running
        running.ended.add_done_callback(lambda ended: self._ended(child, running, ended.result()))
        if child.running is not None:
            child.retired[child.running] = False
        child.spec, child.running = successor.spec, running
        child.url = running.ready.result()
        child.started_at = time.time()
        for event in _TO_READY[child.observed.phase]:
            self._note(child, event)
        self._balancers[child.spec.service] = successor.balancer
        self._watch(child, running)
        self._unpublished.add(child.spec.service)

    async def _retire(self, child: Child, running: Running, former: Balancer) -> None:
        """Have a former gateway end once its clients have gone; one that cannot be told ends now."""
        try:
            if isinstance(former, GatewayBalancer):
                await former.retire()
        except UpstreamError as error:
            log.warning(
                "the former %s (pid %d) cannot be told to retire and is stopped: %s",
                child.spec.name,
                running.pid,
                error,
            )
            self._end(child, running)
        self._end_retired(child, keep=0 if self._stopping else _MOST_RETIRED)

    def _end_retired(self, child: Child, keep: int) -> None:
        for running in list(child.retired)[: max(0, len(child.retired) - keep)]:
            self._end(child, running)

    def _end(self, child: Child, retired: Running) -> None:
        if child.retired.get(retired) is False:
            child.retired[retired] = True
            self._spawn(retired.stop(self._stop_grace_s))

    async def run(self) -> None:
        """Keep the fleet until `stop`.

        Raises:
            EmbedfleetError: a child cannot work as it was told to; everything has been stopped.
        """
        for child in self.children.values():
            child.found = await child.driver.find(child.spec)
            if child.found is not None and child.spec.kind == "replica":  # it goes on serving until its turn comes
                child.url = child.found.url
                self._unpublished.add(child.spec.service)
        for service in filter(self._is_of_new_model, self.services):
            with suppress(UpstreamError):  # one that is not there yet knows no model
                await self._balancers[service].allow_new_model()
        await self._clear_other_models()
        while True:
            self._changed.clear()
            if self._stopping:  # who is told nothing any more need not be looked after
                await self._close_balancers()
            now = time.monotonic()
            held = await self._held()
            observed = {name: child.observed for name, child in self.children.items() if name not in held}
            for action in reconcile(self._wanted(), observed, now, self._backoff):
                await self._act(action)
            if self._stopping and all(child.has_ended for child in self.children.values()):
                break
            await self._publish()
            self._trim(now)
            await self._wait(now, _ROLL_S if held else _TRIM_S)
        await self._clearing.finish()
        if self._failure is not None:
            raise self._failure

    async def _clear_other_models(self) -> None:
        """Nobody is sent to what serves another model than its service is to have, and it ends."""
        others = [c for c in self.children.values() if c.found is not None and c.found.has_other_model]
        for child in others:
            child.url = ""
        if others:
            await self._publish()
        for service in {child.spec.service for child in others}:
            self._clearing.begin(service, [(c.spec, c.driver) for c in others if c.spec.service == service])

    def _is_of_new_model(self, service: str) -> bool:
        """Whether an operator wants another model than what ran before us: by a word, or by changed settings."""
        return service in self._new_models or any(
            c.found is not None and c.found.has_other_model for c in self.replicas(service)
        )

    async def _close_balancers(self) -> None:
        self._listeners.close()
        for child in self.children.values():
            self._end_retired(child, keep=0)
        self._unpublished.clear()
        for balancer in self._balancers.values():
            await balancer.close()

    def _wanted(self) -> set[str]:
        """All children; while stopping first no balancer, so that nobody is sent to a replica that ends."""
        if not self._stopping:
            return set(self.children)
        balancers = [child for child in self.children.values() if child.spec.kind == "balancer"]
        if all(child.observed.phase is Phase.STOPPED for child in balancers):
            return set()
        return {c.spec.name for c in self.children.values() if c.spec.kind == "replica" and c.running is not None}

    async def _held(self) -> set[str]:
        """Children that are not started yet and must wait.

        A balancer, until it has what it needs. A replica that stands where another is to be, until all its neighbours
        serve: so one is replaced at a time, and each has inferred before the next one's turn.
        """
        if self._stopping:
            return set()
        held = set()
        for service in self.services:
            if self._clearing.holds(service):
                held |= {child.spec.name for child in self.replicas(service)}
            balancer = self.balancer(service)
            adopts = balancer.found is not None and not balancer.is_stale
            if balancer.waits and not adopts and not self._balancers[service].may_start:
                held.add(balancer.spec.name)
            stale = [child for child in self.replicas(service) if child.is_to_be_replaced]
            if stale:
                names = {child.spec.name for child in stale}
                others = [child for child in self.replicas(service) if child.spec.name not in names]
                serving = await self._serving(service)
                held |= names if _are_needed(stale, others, serving) else names - {stale[0].spec.name}
        return held

    async def _serving(self, service: str) -> set[str]:
        return {name for name, row in (await self.states(service)).items() if row["state"] == "active"}

    async def _act(self, action: Start | Stop) -> None:
        child = self.children[action.name]
        match action:
            case Start():
                await self._start(child)
            case Stop():
                self._note(child, PhaseEvent.STOP)
                if child.running is not None and not child.running.ended.done():
                    self._spawn(child.running.stop(self._stop_grace_s))

    async def _start(self, child: Child) -> None:
        self._note(child, PhaseEvent.START)
        child.started_at = time.time()
        child.was_started = True
        if child.is_stale and child.observed.restarts == 0:
            child.served = False
            await self._withdraw(child)
        try:
            spec = later(child.spec) if child.observed.restarts and _listens_by_us(child.spec) else child.spec
            running = await child.driver.start(spec, preferred_port=child.port)
        except OSError as error:
            self._note_failure(child, str(error))
            return
        except UsageError as error:
            if self.serves:  # the others serve, and go on
                self._note_failure(child, f"{error.message} ({error.hint})")
                return
            self._note(child, PhaseEvent.EXIT)
            self._failure = error
            self.fail()
            return
        except Exception as error:  # one child's, whatever it is
            log.exception("%s cannot be started", child.spec.name)
            self._note_failure(child, repr(error))
            return
        if child.running is not None:  # it has got a successor meanwhile
            running.kill()
            return
        child.cannot_start = ""
        child.running = running
        self._watch(child, running)
        running.ready.add_done_callback(
            lambda ready: None if ready.cancelled() else self._ready(child, running, ready.result())
        )
        running.ended.add_done_callback(lambda ended: self._ended(child, running, ended.result()))

    def _note_failure(self, child: Child, why: str) -> None:
        """It could not be started, and is tried again."""
        log.error("%s cannot be started: %s", child.spec.name, why)
        child.last_end = child.cannot_start = why
        self._note(child, PhaseEvent.EXIT)

    async def _withdraw(self, child: Child) -> None:
        """Have nothing more sent to a replica that is about to be replaced."""
        if child.spec.kind == "replica":
            child.url = ""
            self._unpublished.add(child.spec.service)
            await self._publish()

    def _ready(self, child: Child, running: Running, url: str) -> None:
        if child.running is not running:  # it has a successor already
            return
        child.url = url
        self._note(child, PhaseEvent.READY)
        self._unpublished.add(child.spec.service)
        log.info("%s is ready on port %d", child.spec.name, child.port)
        if child.observed.restarts and _listens_by_us(child.spec):
            self._spawn(self._let_in(child, running))

    async def _let_in(self, child: Child, running: Running) -> None:
        """Have a gateway that was started again accept clients once a replica serves, or soon all the same."""
        balancer = self._balancers[child.spec.service]
        assert isinstance(balancer, GatewayBalancer), "its socket is held for it"
        deadline = time.monotonic() + _LET_IN_S
        while child.running is running and not running.ended.done():
            if time.monotonic() > deadline or any(row["state"] == "active" for row in await balancer.states()):
                with suppress(UpstreamError):  # it is busy: once more
                    await balancer.listen()
                    return
            await asyncio.sleep(_PUBLISH_RETRY_S)

    def _ended(self, child: Child, running: Running, code: int) -> None:
        if running in child.retired:
            del child.retired[running]
            self._changed.set()
            return
        was_starting = child.observed.phase is Phase.STARTING
        child.running = None
        child.last_end = f"hung: {child.hung}" if child.hung else f"signal {-code}" if code < 0 else f"code {code}"
        self._note(child, PhaseEvent.EXIT)
        if self._stopping:
            return
        log.warning("%s ended with %s", child.spec.name, child.last_end)
        if code == _USAGE and was_starting and child.observed.restarts == 0:
            self._failure = self._explain(child)
            self.fail()

    def _watch(self, child: Child, running: Running) -> None:
        child.hung = ""
        if isinstance(child.spec, RemoteSpec):  # its balancer sees how it does; we could not help it
            return
        child.watchdog = Watchdog(
            running,
            phase=lambda: child.phase_of(running),
            ask=LivenessCheck(child.spec, self._balancers[child.spec.service], lambda: child.url).put,
            hung_after_s=self._hung_after_s.get(child.spec.kind, 0.0),
            hung=lambda reason: self._hung(child, running, reason),
        )
        self._spawn(child.watchdog.watch())

    def _hung(self, child: Child, running: Running, reason: str) -> None:
        is_retired = running in child.retired
        log.error("%s%s hangs and is killed: %s", "the former " if is_retired else "", child.spec.name, reason)
        if not is_retired:
            child.hung = reason
        running.kill_hung()

    def _note(self, child: Child, event: PhaseEvent) -> None:
        child.observed = child.observed.after(event, time.monotonic(), self._backoff)
        self._changed.set()

    def _explain(self, child: Child) -> UsageError:
        """What a child said before it gave up: the last ``error:`` of its log, with its hint."""
        message, hint = f"{child.spec.name} cannot start", f"see {self._log_files.path(child.spec.name)}"
        for line in self._log_files.tail(child.spec.name, 30):
            if line.startswith("error: "):
                message = f"{child.spec.name}: {line.removeprefix('error: ')}"
            elif line.startswith("hint: "):
                hint = line.removeprefix("hint: ")
        if child.spec.kind == "balancer" and not _listens_by_us(child.spec):  # all else was checked: its port is taken
            hint = f"stop what listens there, or set another services.{child.spec.service}.port"
        return UsageError(message, hint)

    async def _publish(self) -> None:
        """Tell balancers where the replicas of their service are."""
        for service in list(self._unpublished):
            if self.balancer(service).complaint:  # the others' must not wait for it; it is told once it answers
                continue
            self._unpublished.discard(service)  # before the call: what becomes ready during it must be told again
            try:
                await self._balancers[service].publish(*self._members(service))
            except UpstreamError:  # it is not there yet, or is too busy: once more in a moment
                self._unpublished.add(service)

    def _members(self, service: str) -> tuple[list[Endpoint], set[str]]:
        """Where the replicas of a service are, and the names of those that are drained."""
        replicas = self.replicas(service)
        return [Endpoint(c.spec.name, c.url) for c in replicas if c.url], {c.spec.name for c in replicas if c.drained}

    def _trim(self, now: float) -> None:
        """In a thread: a disk that hangs must not keep the fleet from being looked after."""
        if now - self._trimmed > _TRIM_S and (self._trimming is None or self._trimming.done()):
            self._trimmed = now
            self._trimming = asyncio.get_running_loop().run_in_executor(None, self._log_files.trim_all)

    async def _wait(self, now: float, longest_s: float) -> None:
        due = next_due({name: child.observed for name, child in self.children.items()}, self._backoff)
        timeout = longest_s if due is None else min(longest_s, max(0.0, due - now))
        timeout = min(timeout, _PUBLISH_RETRY_S) if self._unpublished else timeout
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _are_needed(stale: Sequence[Child], others: Sequence[Child], serving: AbstractSet[str]) -> bool:
    """Whether none that waits to be replaced can be spared now: a neighbour has yet to infer, or all are drained."""
    if any(child.spec.name not in serving and not child.drained for child in others):
        return True
    return len(stale) == 1 and bool(others) and all(child.drained for child in others)


def _listens_by_us(spec: ChildSpec) -> bool:
    """Whether we hold its listening socket."""
    return isinstance(spec, ProcessSpec) and spec.listens is not None
