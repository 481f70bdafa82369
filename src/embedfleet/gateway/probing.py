"""Probes of replicas: what a replica has to prove before it serves, and the pool's model, which a file keeps."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from embedfleet.errors import Starved
from embedfleet.gateway.calibration import Calibration
from embedfleet.gateway.dispatch.abilities import Abilities
from embedfleet.gateway.dispatch.pace import BatchCost
from embedfleet.gateway.proxy import Proxy
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.probe.pool_model_file import read_model, write_model
from embedfleet.probe.prober import Prober
from embedfleet.probe.question import own_path
from embedfleet.types import Endpoint, ReplicaState

log = logging.getLogger(__name__)

_TRIES = 3  # of a probe during which the replica closes the connections that watch it
_MOVED, _CLOSED = "it moved while it was probed", "it closes its connections while it is probed"


class Probing:
    """Probes replicas when the dispatcher asks for that, and keeps the pool's model on disk.

    Args:
        settings: Settings of the gateway.
        proxy: Proxy whose replicas are probed.
        is_retiring: Returns whether a successor serves, which then owns the model's file.

    Attributes:
        prober: What is known of each replica's model, and of the pool's.
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
        """Begin a probe; its result goes to `Proxy.probed` or `Proxy.unprobed`."""
        task = asyncio.get_running_loop().create_task(self._probe(endpoint))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    def look_after_model(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write the pool's model again if its file is gone or differs; to be called in a thread.

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
        except Exception as error:  # a probe without a result would never be made again
            log.exception("the probe of %s failed", name)
            reason = repr(error)
        self._proxy.probed(name, reason, abilities, cost)
        self.prober.keep(self._proxy.dispatcher.replicas)

    async def _prove(self, endpoint: Endpoint) -> tuple[str, Abilities | None, BatchCost | None]:
        """Let a replica infer, and measure it; one process does both, because it is watched from before until after.

        Returns:
            What is wrong with the replica, empty if nothing is; its abilities and batch cost, if they were found out.
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

    async def _measure(self, endpoint: Endpoint) -> tuple[Abilities | None, BatchCost | None]:
        """Return the abilities and the batch cost of a replica that has just inferred."""
        info = self.prober.info_of(endpoint.id)
        if info is None:
            return None, None
        absences = self.prober.absences(endpoint.id)
        cost = await self._calibration.cost(endpoint, info, absences) if self._calibration else None
        return Abilities.of(info), cost

    def _trusted(self) -> list[str]:
        """Return the replicas that serve, or are only silent: a 429 is no failure of theirs."""
        trusted = {ReplicaState.ACTIVE, ReplicaState.SUSPECT}
        return [replica.id for replica in self._proxy.dispatcher.replicas.values() if replica.state in trusted]

    def _solitude(self, name: str) -> Callable[[], bool]:
        """Return a function that tells whether a replica has had no other work since now."""
        replica = self._proxy.dispatcher.replicas.get(name)
        if replica is None or replica.chunks:
            return lambda: False
        sent = replica.sent
        return lambda: replica.sent == sent

    def _change_model(self, *, is_first: bool) -> None:
        """Note that the pool has a model, or another one."""
        self._write_model()
        if not is_first:
            self._proxy.change_model(self.prober.outdated(self._proxy.dispatcher.replicas))

    def _write_model_again(self) -> None:
        if not self._is_retiring():
            log.warning("%s is gone, or says something else, and is written again", self._model_file)
            self._write_model()

    def _write_model(self) -> None:
        model = self.prober.pool_model.model
        if self._model_file is not None and model is not None and not self._is_retiring():
            write_model(self._model_file, model)
