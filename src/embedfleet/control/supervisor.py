"""The one loop that keeps a fleet as it should be: observe, reconcile, act, publish."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress

import orjson

from embedfleet.control.drivers.base import Driver, Running
from embedfleet.control.journal import Journal
from embedfleet.control.plan import ChildSpec
from embedfleet.control.reconcile import Backoff, Observed, Start, Stop, next_due, reconcile
from embedfleet.control.state import Event, Phase
from embedfleet.errors import EmbedfleetError, FleetError, UpstreamError, UsageError
from embedfleet.http.client import fetch
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_ADMIN_TIMEOUT_S = 5.0
_PUBLISH_RETRY_S = 0.1
_TRIM_S = 10.0
_MOST_DEATHS = 5  # in a row, of a child that has yet to serve: it will not
_USAGE = 2  # exit code of a child that cannot work as it was told to, however often it is started


class Child:
    """A process of the plan and what is known of it."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.observed = Observed()
        self.running: Running | None = None
        self.port = 0  # where it listens, or did
        self.started_at = 0.0
        self.last_end = ""


class Supervisor:
    """See the module.

    Args:
        plan: the processes.
        driver: what runs them.
        journal: where their logs are.
        backoff: waits between restarts.
        stop_grace_s: before a child that was told to end is killed.
    """

    def __init__(
        self, plan: list[ChildSpec], driver: Driver, journal: Journal, *, backoff: Backoff, stop_grace_s: float
    ) -> None:
        self.children = {spec.name: Child(spec) for spec in plan}
        self._driver = driver
        self._journal = journal
        self._backoff = backoff
        self._stop_grace_s = stop_grace_s
        self._changed = asyncio.Event()
        self._stopping = False
        self._failure: EmbedfleetError | None = None
        self._unpublished: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._trimmed = 0.0

    @property
    def services(self) -> list[str]:
        """Names of the services."""
        return list(dict.fromkeys(child.spec.service for child in self.children.values()))

    def of_service(self, service: str, kind: str) -> list[Child]:
        """The children of a service that are gateways or replicas."""
        return [c for c in self.children.values() if c.spec.service == service and c.spec.kind == kind]

    def stop(self) -> None:
        """Drain and stop everything; `run` returns when it is done."""
        self._stopping = True
        self._changed.set()

    def kill(self) -> None:
        """End everything now."""
        self.stop()
        for child in self.children.values():
            if child.running is not None:
                child.running.kill()

    async def run(self) -> None:
        """Keep the fleet until `stop`.

        Raises:
            EmbedfleetError: a child cannot work as it was told to; everything has been stopped.
        """
        while True:
            self._changed.clear()
            now = time.monotonic()
            observed = {name: child.observed for name, child in self.children.items()}
            for action in reconcile(self._wanted(), observed, now, self._backoff):
                await self._act(action)
            if self._stopping and all(c.observed.phase is Phase.STOPPED for c in self.children.values()):
                break
            await self._publish()
            self._trim(now)
            await self._wait(now)
        if self._failure is not None:
            raise self._failure

    def _wanted(self) -> set[str]:
        """All children; while stopping first no gateway, so that nobody is sent to a replica that ends."""
        if not self._stopping:
            return set(self.children)
        gateways = [child for child in self.children.values() if child.spec.kind == "gateway"]
        if all(child.observed.phase is Phase.STOPPED for child in gateways):
            return set()
        return {c.spec.name for c in self.children.values() if c.spec.kind == "replica" and c.running is not None}

    async def _act(self, action: Start | Stop) -> None:
        child = self.children[action.name]
        match action:
            case Start():
                await self._start(child)
            case Stop():
                self._note(child, Event.STOP)
                if child.running is not None:
                    self._spawn(child.running.stop(self._stop_grace_s))

    async def _start(self, child: Child) -> None:
        self._note(child, Event.START)
        child.started_at = time.time()
        try:
            running = await self._driver.start(child.spec, preferred_port=child.port)
        except OSError as error:
            log.error("%s cannot be started: %s", child.spec.name, error)  # noqa: TRY400 - the message says it all
            self._note(child, Event.EXIT)
            return
        child.running = running
        running.ready.add_done_callback(lambda ready: None if ready.cancelled() else self._ready(child, ready.result()))
        running.ended.add_done_callback(lambda ended: self._ended(child, ended.result()))

    def _ready(self, child: Child, port: int) -> None:
        child.port = port
        self._note(child, Event.READY)
        self._unpublished.add(child.spec.service)
        log.info("%s is ready on port %d", child.spec.name, port)

    def _ended(self, child: Child, code: int) -> None:
        was_starting = child.observed.phase is Phase.STARTING
        child.running = None
        child.last_end = f"signal {-code}" if code < 0 else f"code {code}"
        self._note(child, Event.EXIT)
        if self._stopping:
            return
        log.warning("%s ended with %s", child.spec.name, child.last_end)
        if code == _USAGE and was_starting and child.observed.restarts == 0:
            self._failure = self._explain(child)
            self.stop()

    def _note(self, child: Child, event: Event) -> None:
        child.observed = child.observed.after(event, time.monotonic(), self._backoff)
        self._changed.set()

    def _explain(self, child: Child) -> UsageError:
        """What a child said before it gave up: the last ``error:`` of its log, with its hint."""
        message, hint = f"{child.spec.name} cannot start", f"see {self._journal.path(child.spec.name)}"
        for line in self._journal.tail(child.spec.name, 30):
            if line.startswith("error: "):
                message = f"{child.spec.name}: {line.removeprefix('error: ')}"
            elif line.startswith("hint: "):
                hint = line.removeprefix("hint: ")
        if child.spec.kind == "gateway":  # all else was checked: its port is taken, and that is a setting here
            hint = f"stop what listens there, or set another services.{child.spec.service}.port"
        return UsageError(message, hint)

    async def _publish(self) -> None:
        """Tell gateways that listen where the replicas of their service are."""
        for service in list(self._unpublished):
            (gateway,) = self.of_service(service, "gateway")
            if gateway.observed.phase is not Phase.READY:
                continue
            replicas = self.of_service(service, "replica")
            endpoints = [Endpoint(c.spec.name, f"http://127.0.0.1:{c.port}") for c in replicas if c.port]
            body = orjson.dumps([endpoint.to_json() for endpoint in endpoints])
            self._unpublished.discard(service)  # before the call: what becomes ready during it must be told again
            try:
                await fetch(_replicas_url(gateway.spec), method="PUT", body=body, timeout_s=_ADMIN_TIMEOUT_S)
            except UpstreamError:  # it ended or is too busy: once more in a moment
                self._unpublished.add(service)

    def _trim(self, now: float) -> None:
        if now - self._trimmed > _TRIM_S:
            self._trimmed = now
            for name in self._journal.names():
                self._journal.trim(name)

    async def _wait(self, now: float) -> None:
        due = next_due({name: child.observed for name, child in self.children.items()}, self._backoff)
        timeout = _TRIM_S if due is None else min(_TRIM_S, max(0.0, due - now))
        timeout = min(timeout, _PUBLISH_RETRY_S) if self._unpublished else timeout
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def replica_states(gateway: ChildSpec) -> list[dict[str, object]]:
    """A gateway's view of its replicas; empty while it cannot be asked."""
    try:
        reply = await fetch(_replicas_url(gateway), timeout_s=_ADMIN_TIMEOUT_S)
    except UpstreamError:
        return []
    rows: list[dict[str, object]] = orjson.loads(reply.body)
    return rows


async def until_serving(supervisor: Supervisor, timeout_s: float, seen: Callable[[dict[str, str]], None]) -> None:
    """Wait until every replica has inferred and its gateway knows.

    Args:
        supervisor: that runs.
        timeout_s: for all of it.
        seen: told the state of every replica whenever it is looked at.

    Raises:
        FleetError: not in time, or a child keeps dying; the message names who and why.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        states: dict[str, str] = {}
        reasons: dict[str, str] = {}
        for service in supervisor.services:
            (gateway,) = supervisor.of_service(service, "gateway")
            rows = {str(row["id"]): row for row in await replica_states(gateway.spec)}
            for child in supervisor.of_service(service, "replica"):
                row = rows.get(child.spec.name)
                states[child.spec.name] = str(row["state"]) if row else child.observed.phase.value
                reasons[child.spec.name] = str(row["reason"]) if row else ""
        seen(states)
        _check_deaths(supervisor)
        late = [name for name, state in states.items() if state != "active"]
        if not late:
            return
        if time.monotonic() > deadline:
            why = "; ".join(f"{name} is {states[name]} {reasons[name]}".strip() for name in late)
            raise FleetError(
                f"not ready after {timeout_s:g} s: {why}", "see `embedfleet logs`, or raise ready_timeout_s"
            )
        await asyncio.sleep(0.1)


def _check_deaths(supervisor: Supervisor) -> None:
    for child in supervisor.children.values():
        name, deaths = child.spec.name, child.observed.deaths
        if deaths >= _MOST_DEATHS:
            raise FleetError(
                f"{name} ended {deaths} times in a row, the last time with {child.last_end}",
                f"see `embedfleet logs {name}`",
            )


def _replicas_url(gateway: ChildSpec) -> str:
    return f"http+unix://{gateway.admin}:/replicas"
