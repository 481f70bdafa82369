"""The gateway's process: its own routes, its start and its drain."""

import asyncio
import gc
import inspect
import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from embedfleet import __version__
from embedfleet.dialects.failure import render_failure
from embedfleet.errors import Starved, Unhealthy
from embedfleet.gateway.admin import Admin, recall
from embedfleet.gateway.calibration import Calibration
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Abilities, State
from embedfleet.gateway.listener import Entrance
from embedfleet.gateway.proxy import Proxy
from embedfleet.gateway.requests.null_defaults import fill_nulls
from embedfleet.gateway.routes import METHODS, READ_ONLY, READS
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.http.cors import CORS, PREFLIGHT, allow
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT
from embedfleet.http.server import Server
from embedfleet.log import dropped_lines
from embedfleet.metrics import CONTENT_TYPE, GATEWAY, Registry
from embedfleet.probe.model_file import read_model, write_model
from embedfleet.probe.prober import Prober
from embedfleet.probe.question import own_path
from embedfleet.system.disk_watch import Lookout
from embedfleet.system.kernel_limits import files_for, open_files
from embedfleet.types import Endpoint, ReplicaLoad, ReplicaReport

log = logging.getLogger(__name__)

_GC_THRESHOLDS = (50_000, 20, 20)
_TRIES = 3  # at a probe during which a replica closes what it is watched by
_MODEL_S = 10.0  # between looks at what is written down of the pool's model
_MOVED, _CLOSED = "it moved while it was probed", "it closes its connections while it is probed"
_IS_COMPILED = not inspect.isfunction(Proxy.handle)  # by scripts/compile

Own = Callable[[Exchange], None]


class App:
    """Answers what is the gateway's own, passes on the rest.

    Args:
        settings: of the gateway.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._registry = Registry(GATEWAY)
        self._prober = Prober(settings.probe_timeout_s)
        self._model_file = Path(settings.model_path) if settings.model_path else None
        if self._model_file is not None:
            self._prober.reference.model = read_model(self._model_file)
        self._calibration = Calibration() if settings.calibrate else None
        self._probes: set[asyncio.Task[None]] = set()
        self._most_texts = settings.request_texts
        self.proxy = Proxy(settings, self._registry, self._start_probe)
        self.server = Server(self.handle, settings.limits, CORS)
        self._own: dict[bytes, Own] = {
            b"/": self._health,
            b"/health": self._health,
            b"/ping": self._health,
            b"/readyz": self._ready,
            b"/livez": lambda exchange: exchange.respond(200, CORS, b""),
            b"/metrics": self._metrics,
            b"/info": self._info,
        }

    def handle(self, exchange: Exchange) -> None:
        """Answer or pass on."""
        target = exchange.target
        path = target if b"?" not in target else target.partition(b"?")[0]
        if exchange.head.method == b"POST" and path not in READ_ONLY:
            if b"null" in exchange.body:
                exchange.body = fill_nulls(exchange.body)
            self.proxy.handle(exchange)
        elif exchange.method == b"OPTIONS" and path in METHODS:
            exchange.respond(200, [*PREFLIGHT, *allow(METHODS[path])], b"")
        elif path not in self._own:
            self.proxy.handle(exchange)
        elif exchange.method in READS:
            self._own[path](exchange)
        else:
            exchange.respond(405, [*CORS, *allow(METHODS[path])], b"")

    def status(self) -> list[dict[str, Any]]:
        """Every replica as the gateway sees it."""
        proxy = self.proxy
        reports = (
            ReplicaReport(
                proxy.endpoints[replica.id],
                replica.state,
                replica.reason,
                ReplicaLoad(len(replica.chunks), replica.tokens, replica.sent, round(replica.pace.slowness, 2)),
            )
            for replica in proxy.dispatcher.replicas.values()
        )
        return [report.to_json() for report in reports]

    def allow_new_model(self) -> None:
        """An operator says that the pool's model may change, see `Prober.allow_change`."""
        self._prober.allow_change()

    def _serving(self) -> list[str]:
        return [r.id for r in self.proxy.dispatcher.replicas.values() if r.state is State.ACTIVE]

    def _trusted(self) -> list[str]:
        """Those that serve, and those that are only silent: a 429 is no failure of theirs."""
        trusted = {State.ACTIVE, State.SUSPECT}
        return [r.id for r in self.proxy.dispatcher.replicas.values() if r.state in trusted]

    def _start_probe(self, endpoint: Endpoint) -> None:
        task = asyncio.get_running_loop().create_task(self._probe(endpoint))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    async def _probe(self, endpoint: Endpoint) -> None:
        name, abilities, cost = endpoint.id, None, None
        try:
            reason, abilities, cost = await self._prove(endpoint)
            before = self._prober.reference.model
            reason = reason or self._prober.admit(name)
            if self._prober.reference.model is not before:
                self._changed_model(is_first=before is None)
            info = self._prober.info_of(name)
            if not reason and info is not None:
                self.proxy.own_path = own_path(info)
        except Starved as error:
            self.proxy.unprobed(name, error)
            return
        except Exception as error:  # a probe that ends without a word would never be made again
            log.exception("the probe of %s failed", name)
            reason = repr(error)
        self.proxy.probed(name, reason, abilities, cost)
        self._prober.keep(self.proxy.dispatcher.replicas)

    def _changed_model(self, *, is_first: bool) -> None:
        """The pool has a model, or another one."""
        self._write_model()
        if not is_first:
            self.proxy.change_model(self._prober.outdated(self.proxy.dispatcher.replicas))

    def look_after_model(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: see that the model of the pool is still written down as it is."""
        model = self._prober.reference.model
        if self._model_file is not None and model is not None and read_model(self._model_file) != model:
            loop.call_soon_threadsafe(self._write_model_again)

    def _write_model_again(self) -> None:
        if not self.server.retiring:  # else the file is our successor's
            log.warning("%s is gone, or says something else, and is written again", self._model_file)
            self._write_model()

    def _write_model(self) -> None:
        model = self._prober.reference.model
        if self._model_file is not None and model is not None and not self.server.retiring:
            write_model(self._model_file, model)

    async def _prove(self, endpoint: Endpoint) -> tuple[str, Abilities | None, Cost | None]:
        """What is wrong with a replica, what it takes and costs: of one process, which is watched from before on."""
        pool = self.proxy.pool(endpoint.id)
        if pool is None or pool.url != endpoint.url:
            return _MOVED, None, None
        for _ in range(_TRIES):
            await pool.watch.open()
            losses, trusted = pool.watch.losses, self._trusted()
            reason = await self._prober.probe(endpoint, trusted, self._solitude(endpoint.id))
            found = await self._measure(endpoint) if not reason and endpoint.id not in trusted else (None, None)
            if reason or (pool.watch.is_open and pool.watch.losses == losses):
                return reason, *found
        return _CLOSED, None, None

    def _solitude(self, name: str) -> Callable[[], bool]:
        """What tells whether a replica has had nothing else to do since now."""
        replica = self.proxy.dispatcher.replicas.get(name)
        if replica is None or replica.chunks:
            return lambda: False
        sent = replica.sent
        return lambda: replica.sent == sent

    async def _measure(self, endpoint: Endpoint) -> tuple[Abilities | None, Cost | None]:
        """What a replica that has just inferred takes, and what work costs it."""
        info = self._prober.info_of(endpoint.id)
        if info is None:
            return None, None
        absences = self._prober.absences(endpoint.id)
        cost = await self._calibration.cost(endpoint, info, absences) if self._calibration else None
        return Abilities.of(info), cost

    def _health(self, exchange: Exchange) -> None:
        if self._serving():
            exchange.respond(200, CORS, b"")
        else:
            _respond_unhealthy(exchange)

    def _ready(self, exchange: Exchange) -> None:
        if self.server.draining and not self.server.retiring:  # the port stays open when a successor accepts
            exchange.respond(503, [TEXT, *CORS], b"draining")
        else:
            self._health(exchange)

    def _metrics(self, exchange: Exchange) -> None:
        self.proxy.tally.measure(self.proxy.dispatcher, self._prober.differing)
        self._registry["embedfleet_connections"].value().set(self.server.connections)
        self._registry["embedfleet_connections_refused_total"].value().set(self.server.refused)
        self._registry["embedfleet_log_dropped_total"].value().set(dropped_lines())
        exchange.respond(200, [(b"content-type", CONTENT_TYPE), *CORS], self._registry.expose())

    def _info(self, exchange: Exchange) -> None:
        serving = self._serving()
        info = self._prober.info(serving)
        if info is None:
            _respond_unhealthy(exchange)
            return
        total = len(self.proxy.dispatcher.replicas)
        own = {"version": __version__, "replicas": total, "active": len(serving), "compiled": _IS_COMPILED}
        # Clients cut their batches by this number, so it must not be above what the gateway lets in.
        texts = {"max_client_batch_size": min(self._most_texts, Abilities.of(info).batch_texts)}
        exchange.respond(200, [JSON, *CORS], orjson.dumps(info | texts | {"gateway": own}))


def _respond_unhealthy(exchange: Exchange) -> None:
    status, headers, body = render_failure(exchange.path, Unhealthy("no replica is ready to serve"))
    exchange.respond(status, [*headers, *CORS], body)


def _warn_of_few_files(server: Server) -> None:
    if server.most_clients < server.limits.connections:
        wanted, files = server.limits.connections, open_files()
        hint = f"raise it (ulimit -n, LimitNOFILE) to {files_for(wanted)}, or lower max_connections"
        text = "max_connections is %d, but the limit of open files, %d, lets in %d: %s"
        log.warning(text, wanted, files, server.most_clients, hint)


async def serve(settings: GatewaySettings, *, ready: Callable[[int], None]) -> None:
    """Listen, call ``ready`` with the port, and serve until SIGTERM or SIGINT; then drain.

    Raises:
        OSError: the port or the admin socket cannot be bound.
    """
    app = App(settings)
    entrance = Entrance(app.server, settings)
    for number in (signal.SIGTERM, signal.SIGINT):  # before anybody can see that we listen
        asyncio.get_running_loop().add_signal_handler(number, entrance.is_over.set)
    if not settings.listens_later:
        await entrance.open()
    orders = {"/new-model": app.allow_new_model, "/listen": entrance.open_soon, "/retire": entrance.retire}
    admin = Admin(app.proxy, app.status, orders)
    if settings.admin_path:
        await admin.server.start(path=settings.admin_path, mode=settings.admin_mode)
    _warn_of_few_files(app.server)
    app.proxy.start()
    lookout = (
        Lookout(partial(app.look_after_model, asyncio.get_running_loop()), _MODEL_S) if settings.model_path else None
    )
    if settings.members_path:
        recall(app.proxy, Path(settings.members_path))
    # What is there now stays. What comes holds no cycles, so that looking for them often would find nothing.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    ready(entrance.port)
    await entrance.is_over.wait()
    app.server.begin_drain()
    await asyncio.sleep(settings.drain_s)
    await app.server.stop(settings.stop_grace_s)
    app.proxy.stop()
    if lookout is not None:
        lookout.stop()
    if settings.admin_path:
        await admin.server.stop(0)
