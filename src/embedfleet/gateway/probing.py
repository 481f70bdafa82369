"""Probes of the gateway's replicas, and the file that keeps the pool's model."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from embedfleet.errors import Starved
from embedfleet.gateway.calibration import Calibration
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.proxy import Proxy
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.probe.pool_model_file import read_model, write_model
from embedfleet.probe.prober import Prober
from embedfleet.probe.question import own_path
from embedfleet.types import Endpoint, ReplicaState

log = logging.getLogger(__name__)

_TRIES = 3  # tries of a probe during which the replica closes the connections that watch it
_MOVED, _CLOSED = "it moved while it was probed", "it closes its connections while it is probed"


class Probing:
    """Probes replicas on the dispatcher's commands, and keeps the pool's model on disk.

    Args:
        settings: Settings of the gateway.
        proxy: Proxy whose replicas are probed.
        is_retiring: Function that returns whether a successor serves, which then owns the file of the model.

    Attributes:
        prober: Prober, with the models of the replicas and of the pool.
    """

    def __init__(self, settings: GatewaySettings, proxy: Proxy, is_retiring: Callable[[], bool]) -> None:
        self.prober = Prober(settings.probe_timeout_s)
        self._proxy = proxy
        self._is_retiring = is_retiring
        self._model_file = Path(settings.model_path) if settings.model_path else None
        if self._model_file is not None:
            self.prober.pool_model.model = read_model(self._model_file)
        self._calibration = Calibration() if settings.calibrate else None
        self._probes: set[asyncio.Task[None]] = set()

    def start(self, endpoint: Endpoint) -> None:
        """Start a probe; its result goes to `Proxy.probed` or `Proxy.unprobed`."""
        task = asyncio.get_running_loop().create_task(self._probe(endpoint))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    def restore_model_file(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write the pool's model again if its file is missing or differs; called in a thread.

        Args:
            loop: Event loop in which the file is written.
        """
        model = self.prober.pool_model.model
        if self._model_file is not None and model is not None and read_model(self._model_file) != model:
            loop.call_soon_threadsafe(self._write_model_again)

    async def _probe(self, endpoint: Endpoint) -> None:
        name, abilities, cost = endpoint.id, None, None
        try:
            reason, abilities, cost = await self._prove(endpoint)
            before = self.prober.pool_model.model
            reason = reason or self.prober.admit(name)
            if self.prober.pool_model.model is not before:
                self._change_model(is_first=before is None)
            info = self.prober.info_of(name)
            if not reason and info is not None:
                self._proxy.intake.own_path = own_path(info)
        except Starved as error:
            self._proxy.unprobed(name, error)
            return
        except Exception as error:  # after a probe without a result, no other would follow
            log.exception("the probe of %s failed", name)
            reason = repr(error)
        self._proxy.probed(name, reason, abilities, cost)
        self.prober.keep(self._proxy.dispatcher.replicas)

    async def _prove(self, endpoint: Endpoint) -> tuple[str, Capabilities | None, BatchCost | None]:
        """Probe a replica and measure it; watched connections show that one process did both.

        Returns:
            Fault of the replica, empty if it has none; its capabilities and its batch cost, each None if unknown.
        """
        pool = self._proxy.connections(endpoint.id)
        if pool is None or pool.url != endpoint.url:
            return _MOVED, None, None
        for _ in range(_TRIES):
            await pool.watch.open()
            losses, trusted = pool.watch.losses, self._trusted()
            reason = await self.prober.probe(endpoint, trusted, self._solitude(endpoint.id))
            found = await self._measure(endpoint) if not reason and endpoint.id not in trusted else (None, None)
            if reason or (pool.watch.is_open and pool.watch.losses == losses):
                return reason, *found
        return _CLOSED, None, None

    async def _measure(self, endpoint: Endpoint) -> tuple[Capabilities | None, BatchCost | None]:
        """Return the capabilities and the batch cost of a replica that has just inferred."""
        info = self.prober.info_of(endpoint.id)
        if info is None:
            return None, None
        absences = self.prober.absences(endpoint.id)
        cost = await self._calibration.cost(endpoint, info, absences) if self._calibration else None
        return Capabilities.of(info), cost

    def _trusted(self) -> list[str]:
        """Return the replicas that are active or suspect; for them, a 429 to a probe is not a failure."""
        trusted = {ReplicaState.ACTIVE, ReplicaState.SUSPECT}
        return [replica.id for replica in self._proxy.dispatcher.replicas.values() if replica.state in trusted]

    def _solitude(self, name: str) -> Callable[[], bool]:
        """Return a function that tells whether the replica has had no work besides the probe since this call."""
        replica = self._proxy.dispatcher.replicas.get(name)
        if replica is None or replica.chunks:
            return lambda: False
        sent = replica.sent
        return lambda: replica.sent == sent

    def _change_model(self, *, is_first: bool) -> None:
        """Record the pool's first model, or its new model."""
        self._write_model()
        if not is_first:
            self._proxy.change_model(self.prober.outdated(self._proxy.dispatcher.replicas))

    def _write_model_again(self) -> None:
        if not self._is_retiring():
            log.warning("%s is missing or has other content; it is written again", self._model_file)
            self._write_model()

    def _write_model(self) -> None:
        model = self.prober.pool_model.model
        if self._model_file is not None and model is not None and not self._is_retiring():
            write_model(self._model_file, model)
