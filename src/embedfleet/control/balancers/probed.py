"""A balancer without health checks, as nginx is: we ask each replica to infer, and steer the balancer by that."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from embedfleet.errors import EmbedfleetError, Starved
from embedfleet.probe.prober import Prober
from embedfleet.probe.process_watch import ProcessWatch
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_DRAINED = "drained by hand"
_RETRY_S = 0.5  # between probes of a replica that does not serve, and between attempts to steer


class Steering(Protocol):
    """How a balancer is told which replicas may get requests."""

    async def apply(self, serving: Sequence[Endpoint], resting: Sequence[tuple[Endpoint, str]]) -> None:
        """Send requests to ``serving`` alone; ``resting`` are the others, each with the reason.

        ``serving`` is empty only if all that served were drained by hand.

        Raises:
            FleetError: the balancer does not take it and goes on as before.
        """

    @property
    def may_start(self) -> bool:
        """Whether the balancer could start by what was last applied."""

    async def ask(self, timeout_s: float) -> None:
        """Return once the balancer answers; see `base.Balancer`."""


@dataclass(slots=True)
class _Watched:
    """A replica and what its last probe said."""

    endpoint: Endpoint
    task: asyncio.Task[None]
    state: str = "joining"
    reason: str = ""
    serving: bool = field(default=False)


class ProbedBalancer:
    """See `base.Balancer`.

    Args:
        interval_s: between probes of a replica that serves.
        timeout_s: of a probe.
        steering: tells the balancer.
        changed: called when a replica begins or ceases to serve.
    """

    def __init__(self, *, interval_s: float, timeout_s: float, steering: Steering, changed: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._prober = Prober(timeout_s)
        self._steering = steering
        self._changed = changed
        self._watched: dict[str, _Watched] = {}
        self._drained: frozenset[str] = frozenset()
        self._steered: tuple[Endpoint, ...] = ()  # who gets requests
        self._steer = asyncio.Event()
        self._applying = asyncio.Lock()
        self._steerer = asyncio.get_running_loop().create_task(self._steer_on())

    @property
    def may_start(self) -> bool:
        """See `base.Balancer`."""
        return self._steering.may_start

    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """See `base.Balancer`: who is gone gets nothing more from now on, who is new only after it has inferred."""
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

    async def states(self) -> list[dict[str, Any]]:
        """See `base.Balancer`; active is who infers and is known to do so by what is steered."""
        return [
            known.endpoint.to_json() | {"state": self._state(known), "reason": self._reason(known)}
            for known in self._watched.values()
        ]

    def _state(self, known: _Watched) -> str:
        """What the balancer makes of it: between a probe's answer and the balancer's obeying lies a moment."""
        gets_requests = known.endpoint in self._steered
        if known.endpoint.id in self._drained:
            return "draining" if gets_requests else "drained"
        if known.serving and not gets_requests:
            return "joining"
        others_serve = not self._drained.issuperset(self._serving())
        return "draining" if gets_requests and not known.serving and others_serve else known.state

    def _reason(self, known: _Watched) -> str:
        return known.reason or (_DRAINED if known.endpoint.id in self._drained else "")

    async def ask(self, timeout_s: float) -> None:
        """See `base.Balancer`."""
        await self._steering.ask(timeout_s)

    async def allow_new_model(self) -> None:
        """See `base.Balancer`."""
        self._prober.allow_change()

    async def close(self) -> None:
        """See `base.Balancer`."""
        tasks = [known.task for known in self._watched.values()] + [self._steerer]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _serving(self) -> list[str]:
        return [name for name, known in self._watched.items() if known.serving]

    async def _watch(self, endpoint: Endpoint) -> None:
        """Probe one replica for ever, at once when it may be another process.

        One probe at a time: more at once can end a TEI process (tei issue 424).
        """
        parts = urlsplit(endpoint.url)
        doubted = asyncio.Event()
        watch = ProcessWatch(parts.hostname or "127.0.0.1", parts.port or 80, doubted.set)
        try:
            while True:
                doubted.clear()
                wait_s = await self._look(endpoint, watch)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await doubted.wait()
        finally:
            watch.close()

    async def _look(self, endpoint: Endpoint, watch: ProcessWatch) -> float:
        """Probe one replica; returns how long to wait for the next time, in seconds."""
        try:
            reason = await self._prove(endpoint, watch)
        except Starved as error:  # it was not asked: who serves goes on, who does not is asked again
            log.warning("%s cannot be probed: %s; raise the limit of open files (ulimit -n)", endpoint.id, error)
            return _RETRY_S
        except Exception as error:  # a watch that ends without a word would leave the replica as it last was
            log.exception("the probe of %s failed", endpoint.id)
            reason = repr(error)
        known = self._watched[endpoint.id]
        before = known.serving
        known.serving, known.reason = not reason, reason
        known.state = "active" if not reason else ("ejected" if before or known.state == "ejected" else "joining")
        if known.serving != before:
            log.info("%s %s", endpoint.id, "serves" if known.serving else f"is left out: {reason}")
            self._steer.set()
            self._changed()
        return self._interval_s if known.serving else _RETRY_S

    async def _prove(self, endpoint: Endpoint, watch: ProcessWatch) -> str:
        """What is wrong with a replica; one that may be another process than before has to prove all anew."""
        is_known = watch.is_open
        await watch.open()
        serving = [name for name in self._serving() if is_known or name != endpoint.id]
        # What nginx sends there meanwhile nobody knows.
        reason = await self._prober.probe(endpoint, serving, is_alone=lambda: False)
        return reason or self._admit(endpoint.id)

    def _admit(self, name: str) -> str:
        """Why a replica whose probe was good may not serve; if it is the first of a new model, the others cease to."""
        reason = self._prober.admit(name)
        if not reason:
            for other, outdated in self._prober.outdated(self._serving()).items():
                self._watched[other].serving, self._watched[other].reason = False, outdated
                self._watched[other].state = "ejected"
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
                log.error("the balancer goes on as before: %s", error)  # noqa: TRY400 - the message says it all
                asyncio.get_running_loop().call_later(_RETRY_S, self._steer.set)
        self._changed()

    def _to_serve(self) -> list[Endpoint] | None:
        """Who is to get requests; None if nobody would be left: whoever has it goes on as it was, and may yet succeed.

        But not one that was drained by hand, even if nobody is left then.
        """
        known = [known for known in self._watched.values() if known.endpoint.id not in self._drained]
        serving = [each.endpoint for each in known if each.serving]
        kept = [endpoint for endpoint in self._steered if endpoint.id not in self._drained]
        if serving or not self._watched or len(kept) == len(self._steered):
            return serving or None
        return kept
