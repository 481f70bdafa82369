"""Balancer without health checks of its own, such as nginx: control probes the replicas for it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from typing_extensions import override

from embedfleet.control.balancers.base import Balancer
from embedfleet.errors import EmbedfleetError, Starved
from embedfleet.probe.prober import Prober
from embedfleet.probe.process_watch import ProcessWatch
from embedfleet.types import Endpoint, ReplicaReport, ReplicaState

log = logging.getLogger(__name__)

_DRAINED = "drained by hand"
_RETRY_S = 0.5  # between probes of a replica that does not serve, and between attempts to steer


class Steering(Protocol):
    """Interface that sets which replicas get requests from a balancer."""

    async def apply(self, serving: Sequence[Endpoint], resting: Sequence[tuple[Endpoint, str]]) -> None:
        """Set the replicas that get requests.

        Args:
            serving: Replicas that get requests; empty only if all that served were drained by an operator.
            resting: Other replicas, each with the reason.

        Raises:
            FleetError: The balancer refuses the change, and works as before.
        """

    @property
    def may_start(self) -> bool:
        """Whether the balancer can start with what was applied last."""

    async def ask(self, timeout_s: float) -> None:
        """Return once the balancer answers, as `Balancer.ask` does."""


@dataclass(slots=True)
class _Watched:
    """A replica and the result of its last probe."""

    endpoint: Endpoint
    task: asyncio.Task[None]
    state: ReplicaState = ReplicaState.JOINING
    reason: str = ""
    is_serving: bool = False


class ProbedBalancer(Balancer):
    """A balancer that gets its list of serving replicas from probes.

    Args:
        interval_s: Time between probes of a replica that serves, in seconds.
        timeout_s: Longest wait for a probe's answer, in seconds.
        steering: Interface to the balancer.
        changed: Function that is called when a replica begins or ceases to serve, and after each update of the
            balancer.
    """

    def __init__(self, *, interval_s: float, timeout_s: float, steering: Steering, changed: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._prober = Prober(timeout_s)
        self._steering = steering
        self._changed = changed
        self._watched: dict[str, _Watched] = {}
        self._drained: frozenset[str] = frozenset()
        self._steered: tuple[Endpoint, ...] = ()  # replicas that get requests
        self._steer = asyncio.Event()
        self._applying = asyncio.Lock()
        self._steerer: asyncio.Task[None] | None = None

    @property
    @override
    def may_start(self) -> bool:
        return self._steering.may_start

    @override
    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """Set the replicas. One that is not listed gets no more requests; a new one gets them once it has inferred."""
        if self._steerer is None:
            self._steerer = asyncio.get_running_loop().create_task(self._steer_on())
        self._drained = frozenset(drained)
        wanted = {endpoint.id: endpoint for endpoint in endpoints}
        for name, known in list(self._watched.items()):
            if wanted.get(name) != known.endpoint:
                known.task.cancel()
                del self._watched[name]
        for name, endpoint in wanted.items():
            if name not in self._watched:
                task = asyncio.get_running_loop().create_task(self._watch(endpoint))
                self._watched[name] = _Watched(endpoint, task)
        self._prober.keep(self._watched)
        await self._apply()

    @override
    async def reports(self) -> Sequence[ReplicaReport]:
        """Return a report of each replica; one that infers and gets requests is active."""
        return [
            ReplicaReport(known.endpoint, self._state(known), self._reason(known)) for known in self._watched.values()
        ]

    def _state(self, known: _Watched) -> ReplicaState:
        """Return the state of a replica; the balancer needs a moment to act on the result of a probe."""
        gets_requests = known.endpoint in self._steered
        if known.endpoint.id in self._drained:
            return ReplicaState.DRAINING if gets_requests else ReplicaState.DRAINED
        if known.is_serving and not gets_requests:
            return ReplicaState.JOINING
        others_serve = not self._drained.issuperset(self._serving())
        is_leaving = gets_requests and not known.is_serving and others_serve
        return ReplicaState.DRAINING if is_leaving else known.state

    def _reason(self, known: _Watched) -> str:
        return known.reason or (_DRAINED if known.endpoint.id in self._drained else "")

    @override
    async def ask(self, timeout_s: float) -> None:
        await self._steering.ask(timeout_s)

    @override
    async def allow_new_model(self) -> None:
        self._prober.allow_change()

    @override
    async def close(self) -> None:
        tasks = [known.task for known in self._watched.values()]
        if self._steerer is not None:
            tasks.append(self._steerer)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _serving(self) -> list[str]:
        return [name for name, known in self._watched.items() if known.is_serving]

    async def _watch(self, endpoint: Endpoint) -> None:
        """Probe one replica periodically, and at once when another process may have taken its place.

        Only one probe is under way at a time: several can end a TEI process (tei issue 424).
        """
        parts = urlsplit(endpoint.url)
        doubted = asyncio.Event()
        watch = ProcessWatch(parts.hostname or "127.0.0.1", parts.port or 80, doubted.set)
        try:
            while True:
                doubted.clear()
                wait_s = await self._probe(endpoint, watch)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await doubted.wait()
        finally:
            watch.close()

    async def _probe(self, endpoint: Endpoint, watch: ProcessWatch) -> float:
        """Probe one replica once; return the time until the next probe, in seconds."""
        try:
            reason = await self._prove(endpoint, watch)
        except Starved as error:  # the replica was not asked, so its state stays
            log.warning("%s cannot be probed: %s; raise the limit of open files (ulimit -n)", endpoint.id, error)
            return _RETRY_S
        except Exception as error:  # without this, the replica would keep its last state for ever
            log.exception("the probe of %s failed", endpoint.id)
            reason = repr(error)
        known = self._watched[endpoint.id]
        before = known.is_serving
        known.is_serving, known.reason = not reason, reason
        has_failed = before or known.state is ReplicaState.EJECTED
        failed_state = ReplicaState.EJECTED if has_failed else ReplicaState.JOINING
        known.state = failed_state if reason else ReplicaState.ACTIVE
        if known.is_serving != before:
            log.info("%s %s", endpoint.id, "serves" if known.is_serving else f"is left out: {reason}")
            self._steer.set()
            self._changed()
        return self._interval_s if known.is_serving else _RETRY_S

    async def _prove(self, endpoint: Endpoint, watch: ProcessWatch) -> str:
        """Probe a replica and return its fault; empty if none. A replica whose process may be new counts as new."""
        is_known = watch.is_open
        await watch.open()
        serving = [name for name in self._serving() if is_known or name != endpoint.id]
        # nginx may send requests to the replica meanwhile, so the probe may not be alone.
        reason = await self._prober.probe(endpoint, serving, is_alone=lambda: False)
        return reason or self._admit(endpoint.id)

    def _admit(self, name: str) -> str:
        """Return why a replica that passed its probe may not serve; empty if it may.

        The first replica of an allowed new model ejects those of the former one.
        """
        reason = self._prober.admit(name)
        if not reason:
            for other, outdated in self._prober.outdated(self._serving()).items():
                self._watched[other].is_serving, self._watched[other].reason = False, outdated
                self._watched[other].state = ReplicaState.EJECTED
                self._steer.set()
        return reason

    async def _steer_on(self) -> None:
        while True:
            await self._steer.wait()
            self._steer.clear()
            await self._apply()

    async def _apply(self) -> None:
        async with self._applying:
            serving = self._to_serve()
            if serving is None:
                return
            watched = self._watched.values()
            resting = [(known.endpoint, self._reason(known)) for known in watched if known.endpoint not in serving]
            try:
                await self._steering.apply(serving, resting)
                self._steered = tuple(serving)
            except EmbedfleetError as error:
                log.error("the balancer keeps its former replicas: %s", error)  # noqa: TRY400 - the message says it all
                asyncio.get_running_loop().call_later(_RETRY_S, self._steer.set)
        self._changed()

    def _to_serve(self) -> list[Endpoint] | None:
        """Return the replicas that should get requests; None to leave the balancer as it is.

        If none serves, those that get requests keep getting them, because some may succeed. Drained replicas get
        nothing, even if no other is left.
        """
        known = [known for known in self._watched.values() if known.endpoint.id not in self._drained]
        serving = [each.endpoint for each in known if each.is_serving]
        kept = [endpoint for endpoint in self._steered if endpoint.id not in self._drained]
        if serving or not self._watched or len(kept) == len(self._steered):
            return serving or None
        return kept
