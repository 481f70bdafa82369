"""The gateway's process: the routes that it answers itself, its start and its drain."""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from embedfleet import __version__
from embedfleet.dialects.error_reply import render_error
from embedfleet.errors import Unhealthy
from embedfleet.gateway.admin import Admin, restore_replicas
from embedfleet.gateway.cache.answer_keeper import AnswerKeeper
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.entrance import Entrance, Own
from embedfleet.gateway.listener import Listener
from embedfleet.gateway.own_routes import OWN_OPERATIONS
from embedfleet.gateway.probing import Probing
from embedfleet.gateway.proxy import Proxy
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT
from embedfleet.http.server import Server
from embedfleet.log import dropped_lines
from embedfleet.metrics import CONTENT_TYPE, GATEWAY, Registry
from embedfleet.own_code import is_compiled
from embedfleet.system.disk_watch import DiskWatch
from embedfleet.system.kernel_limits import files_for, open_files
from embedfleet.types import Endpoint, ReplicaLoad, ReplicaReport, ReplicaState

log = logging.getLogger(__name__)

_GC_THRESHOLDS = (50_000, 20, 20)
_MODEL_S = 10.0  # seconds between two checks of the file of the pool's model
_UNKNOWN = "its code was not compiled when it was installed"


class App:
    """The replicas, the server for clients, and the answers of the gateway's own routes.

    Args:
        settings: Settings of the gateway.

    Attributes:
        proxy: Replicas and requests.
        server: Server for the clients.
        probing: Probes of the replicas.
        keeper: Keeper of the cache over restarts; None if it is not kept.
        is_compiled: Whether this process runs the data path compiled.
        interpreted_because: Reason why it does not; empty if it does.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._registry = Registry(GATEWAY)
        self._most_texts = settings.request_texts
        self.is_compiled = is_compiled()
        self.interpreted_because = "" if self.is_compiled else settings.interpreted_because or _UNKNOWN
        self.proxy = Proxy(settings, self._registry, self._start_probe)
        self.probing = Probing(settings, self.proxy, lambda: self.server.retiring)
        cache, path = self.proxy.cache, settings.cache_path
        self.keeper = (
            AnswerKeeper(
                cache.context, Path(path), lambda: self.probing.prober.pool_model.model, lambda: self.server.retiring
            )
            if cache is not None and path
            else None
        )
        answers: dict[str, Own] = {
            "health": self._health,
            "ready": self._ready,
            "live": lambda exchange: exchange.respond(200, CORS, b""),
            "metrics": self._metrics,
            "info": self._info,
        }
        own = {path: answers[operation] for path, operation in OWN_OPERATIONS.items()}
        pass_on = self.proxy.intake.handle if cache is None else cache.handle
        self.server = Server(Entrance(pass_on, own).handle, settings.limits, CORS)

    def status(self) -> list[dict[str, Any]]:
        """Return the state of every replica as the gateway sees it."""
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
        """Allow the pool's model to change for some minutes, at an operator's request."""
        self.probing.prober.allow_change()

    def _start_probe(self, endpoint: Endpoint) -> None:
        self.probing.start(endpoint)

    def _serving(self) -> list[str]:
        return [r.id for r in self.proxy.dispatcher.replicas.values() if r.state is ReplicaState.ACTIVE]

    def _health(self, exchange: Exchange) -> None:
        if self._serving():
            exchange.respond(200, CORS, b"")
        else:
            _respond_unhealthy(exchange)

    def _ready(self, exchange: Exchange) -> None:
        if self.server.draining and not self.server.retiring:  # after `retire`, the port stays open for a successor
            exchange.respond(503, [TEXT, *CORS], b"draining")
        else:
            self._health(exchange)

    def _metrics(self, exchange: Exchange) -> None:
        self.proxy.counters.measure(self.proxy.dispatcher, self.probing.prober.differing)
        if self.proxy.cache is not None:
            self.proxy.cache.measure(self._registry)
        self._registry["embedfleet_connections"].value().set(self.server.connections)
        self._registry["embedfleet_connections_refused_total"].value().set(self.server.refused)
        self._registry["embedfleet_log_dropped_total"].value().set(dropped_lines())
        exchange.respond(200, [(b"content-type", CONTENT_TYPE), *CORS], self._registry.expose())

    def _info(self, exchange: Exchange) -> None:
        serving = self._serving()
        info = self.probing.prober.info(serving)
        if info is None:
            _respond_unhealthy(exchange)
            return
        total = len(self.proxy.dispatcher.replicas)
        own: dict[str, Any] = {"version": __version__, "replicas": total, "active": len(serving)}
        own["compiled"] = self.is_compiled
        if self.interpreted_because:
            own["interpreted_because"] = self.interpreted_because
        if self.proxy.cache is not None:
            own["cache"] = self.proxy.cache.figures()
        # Clients split their batches by this number, so it must not exceed what the gateway accepts.
        texts = {"max_client_batch_size": min(self._most_texts, Capabilities.of(info).batch_texts)}
        exchange.respond(200, [JSON, *CORS], orjson.dumps(info | texts | {"gateway": own}))


def _respond_unhealthy(exchange: Exchange) -> None:
    status, headers, body = render_error(exchange.path, Unhealthy("no replica is ready to serve"))
    exchange.respond(status, [*headers, *CORS], body)


def _warn_of_few_files(server: Server) -> None:
    if server.most_clients < server.limits.connections:
        wanted, files = server.limits.connections, open_files()
        hint = f"raise it (ulimit -n, LimitNOFILE) to {files_for(wanted)}, or lower max_connections"
        text = "max_connections is %d, but the limit of open files, %d, lets in %d: %s"
        log.warning(text, wanted, files, server.most_clients, hint)


async def serve(settings: GatewaySettings, *, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM, SIGINT, or the end of the last client after ``POST /retire``; then drain.

    Args:
        settings: Settings of the gateway.
        ready: Function that is called with the port once the gateway accepts clients, or waits for ``POST /listen``.

    Raises:
        OSError: The port or the admin socket cannot be bound.
    """
    app = App(settings)
    listener = Listener(app.server, settings)
    for number in (signal.SIGTERM, signal.SIGINT):  # before clients connect
        asyncio.get_running_loop().add_signal_handler(number, listener.is_over.set)
    if not settings.listens_later:
        await listener.open()
    orders = {"/new-model": app.allow_new_model, "/listen": listener.open_soon, "/retire": listener.retire}
    admin = Admin(app.proxy, app.status, orders)
    if settings.admin_path:
        await admin.server.start(path=settings.admin_path, mode=settings.admin_mode)
    _warn_of_few_files(app.server)
    log.info("this gateway is %s", f"interpreted: {app.interpreted_because}" if app.interpreted_because else "compiled")
    app.proxy.start()
    if app.keeper is not None:
        app.keeper.start()
    restore = partial(app.probing.restore_model_file, asyncio.get_running_loop())
    disk_watch = DiskWatch(restore, _MODEL_S) if settings.model_path else None
    if settings.members_path:
        restore_replicas(app.proxy, Path(settings.members_path))
    # The objects that exist now live on. Objects of requests form no cycles, so frequent collections would find
    # nothing.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    ready(listener.port)
    await listener.is_over.wait()
    app.server.begin_drain()
    await asyncio.sleep(settings.drain_s)
    await app.server.stop(settings.stop_grace_s)
    app.proxy.stop()
    if app.keeper is not None:
        await app.keeper.stop()
    if disk_watch is not None:
        disk_watch.stop()
    if settings.admin_path:
        await admin.server.stop(0)
