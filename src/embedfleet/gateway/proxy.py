"""One service's replicas and requests, and the calls that the clock and the probes trigger."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import inf

from embedfleet.errors import Starved
from embedfleet.gateway.cache.cached_intake import CachedIntake
from embedfleet.gateway.counters import Counters
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Command
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.replica_log import ReplicaLog
from embedfleet.gateway.requests.attempt import Attempt
from embedfleet.gateway.requests.context import RequestContext
from embedfleet.gateway.requests.executor import Executor
from embedfleet.gateway.requests.intake import Intake
from embedfleet.gateway.requests.no_token_refusal import Witness
from embedfleet.gateway.requests.outcomes import ReplicaOutcomes
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.gateway.timer import Timer
from embedfleet.gateway.upstream.connection_pool import ConnectionPool
from embedfleet.gateway.upstream.connection_pools import ConnectionPools
from embedfleet.metrics import Registry
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_BODY_SHARE = 0.75  # share of a replica's largest body that texts may fill; the rest is for the frame


class Proxy:
    """One service's requests and the replicas that answer them.

    Args:
        settings: Settings of the gateway.
        registry: Registry of the gateway's metrics.
        probe: Function that starts a probe of the replica at an endpoint; the probe must end in `probed` or `unprobed`.

    Attributes:
        dispatcher: Dispatcher of the service.
        endpoints: Endpoints by the names of their replicas.
        counters: Metrics of the gateway.
        intake: Receiver of clients' exchanges.
        cache: Receiver of clients' exchanges in front of `intake`; None if the gateway keeps no answers.
        now: Clock of the event loop, in seconds.
    """

    def __init__(self, settings: GatewaySettings, registry: Registry, probe: Callable[[Endpoint], None]) -> None:
        self.dispatcher = Dispatcher(settings.dispatch)
        self.endpoints: dict[str, Endpoint] = {}
        self.counters = Counters(registry)
        self.now = asyncio.get_running_loop().time
        self._settings = settings
        self._probe = probe
        self._connections = ConnectionPools(settings.hold_bytes, settings.response_timeout_s)
        self._replica_log = ReplicaLog(settings.dispatch.quarantine_s)
        self._timer = Timer(self._tick, self._on_alarm, self._stood_still)
        context = RequestContext(self.counters, self.now, logs_access=settings.access_log)
        self._executor = Executor(
            self.dispatcher,
            self._connections,
            context,
            self._timer,
            probe=self._start_probe,
            forget=self._forget,
        )
        self._outcomes = ReplicaOutcomes(self.dispatcher, self._executor, self._connections, context, self._replica_log)
        self._executor.report_to(self._outcomes)
        self.intake = Intake(settings, self.dispatcher, self._executor, context, self._witnesses)
        self.cache = CachedIntake(settings, self.intake, context) if settings.cache_bytes else None

    def start(self) -> None:
        """Start with the replicas of the settings."""
        self.set_members(self._settings.replicas)
        self._timer.start()

    def stop(self) -> None:
        """Close the connections to replicas, and stop the clock."""
        self._timer.stop()
        self.intake.stop()
        self._connections.close()

    # replicas

    def set_members(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Set the replicas; one whose address changed must pass probes again."""
        for endpoint in endpoints:
            if self._connections.provide(endpoint, partial(self._doubt, endpoint.id)):
                self.dispatcher.distrust(endpoint.id, f"moved to {endpoint.url}")
            self.endpoints[endpoint.id] = endpoint
        self._execute(self.dispatcher.set_members([endpoint.id for endpoint in endpoints], self.now()))

    def drain(self, name: str) -> None:
        """Stop sending a replica new work until `undrain`; it finishes what it has.

        Raises:
            KeyError: There is no such replica.
        """
        self._execute(self.dispatcher.drain(name))
        self._log_states()

    def undrain(self, name: str) -> None:
        """Let a drained replica join again.

        Raises:
            KeyError: There is no such replica.
        """
        self._execute(self.dispatcher.undrain(name, self.now()))

    def connections(self, name: str) -> ConnectionPool | None:
        """Return the connections to a replica; None if there is no such replica."""
        return self._connections.by_name.get(name)

    def change_model(self, reasons: Mapping[str, str]) -> None:
        """Switch to another model.

        Args:
            reasons: Reason why each replica of the former model no longer serves, by name.
        """
        self.intake.forget_model()
        if self.cache is not None:
            self.cache.context.forget()
        self._execute(self.dispatcher.change_model(reasons, self.now()))
        self._log_states()

    # probes

    def probed(
        self, name: str, reason: str, abilities: Capabilities | None = None, cost: BatchCost | None = None
    ) -> None:
        """Handle the result of a probe.

        Args:
            name: Name of the replica.
            reason: Fault of the replica, in words; empty if it inferred.
            abilities: Limits from its ``/info``; None if it was not asked for.
            cost: Cost of its batches; None if it was not measured.
        """
        self.counters.add_probe(name, is_good=not reason)
        if abilities is not None:
            abilities = replace(abilities, body_bytes=int(_BODY_SHARE * self._settings.replica_body_bytes))
        pool = self._connections.by_name.get(name)
        if pool is not None and not reason:
            pool.trust()
        self._execute(self.dispatcher.probed(name, reason, self.now(), abilities, cost))
        if pool is not None and reason:
            pool.turn_away(reason)
        self.intake.input_tokens = min(
            (replica.abilities.input_tokens for replica in self.dispatcher.serving), default=Capabilities().input_tokens
        )
        self._log_states()

    def unprobed(self, name: str, error: Starved) -> None:
        """Report that a probe could not be made."""
        self._outcomes.note_shortage(error)
        self._execute(self.dispatcher.unprobed(name, self.now()))

    def _start_probe(self, name: str) -> None:
        self._probe(self.endpoints[name])

    def _witnesses(self) -> list[Witness]:
        """Return the replicas that can be asked to tokenize a text, the least loaded first."""
        now = self.now()
        serving = sorted(self.dispatcher.serving, key=lambda one: one.eta(now))
        return [Witness(self.endpoints[one.id].url, one.abilities.batch_texts) for one in serving]

    # internals

    def _execute(self, commands: list[Command]) -> None:
        self._executor.execute(commands)

    def _doubt(self, name: str) -> None:
        """Report that another process may answer at a replica's address."""
        self._execute(self.dispatcher.doubt(name, self.now()))
        self._log_states()

    def _forget(self, name: str) -> None:
        self._connections.retire(name)
        self.endpoints.pop(name)
        self._replica_log.gone(name)
        self.counters.forget(name)

    def _log_states(self) -> None:
        self._replica_log.states(self.dispatcher.replicas.values())

    # time

    def _tick(self, now: float) -> None:
        self._connections.sweep(now)
        self._pass_time(now)
        self._ask_again(now)
        self._log_states()

    def _on_alarm(self, now: float) -> None:
        """Let the dispatcher act at its due time."""
        if self.dispatcher.due <= now:
            self._pass_time(now)
        elif self.dispatcher.due < inf:
            self._timer.set_alarm(self.dispatcher.due)

    def _pass_time(self, now: float) -> None:
        try:
            commands = self.dispatcher.tick(now)
        except Exception:
            log.exception("the dispatcher's tick failed")
        else:
            self._execute(commands)

    def _ask_again(self, now: float) -> None:
        """Send each call whose connection may be dead again, on a new connection to the same replica."""
        for pool in self._connections.by_name.values():
            for call in pool.unheard():
                silent = call.connection
                if silent is None or not isinstance(call, Attempt):
                    continue
                if self.dispatcher.asks_again(call.chunk, call.replica, silent.idle_since, now):
                    self.counters.add_hedge()
                    pool.renew(call)

    def _stood_still(self, seconds: float) -> None:
        """Exclude from all measurements of silence a period in which the gateway read nothing."""
        log.warning("the gateway stood still for %.1f s", seconds)
        self._connections.stood_still(seconds)
        self.dispatcher.stood_still(seconds)
