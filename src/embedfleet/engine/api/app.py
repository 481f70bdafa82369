"""The engine's HTTP server: TEI's routes over one `Engine`, with API keys and error replies."""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from hmac import compare_digest

from embedfleet.dialects.error_reply import render_error
from embedfleet.dialects.routes import ROUTES
from embedfleet.engine.api.handlers import Answer, Handler, Handlers
from embedfleet.engine.engine import Engine, load
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import (
    Backend,
    BatchTooLarge,
    Empty,
    EmptyInput,
    Overloaded,
    RequestError,
    ServingError,
    Tokenizer,
    Validation,
    WrongInput,
    WrongModel,
)
from embedfleet.http.cors import CORS, PREFLIGHT, allow
from embedfleet.http.exchange import Exchange
from embedfleet.http.server import Server
from embedfleet.metrics import TEI, Registry

log = logging.getLogger(__name__)

_PUBLIC = frozenset(route.path for route in ROUTES if route.is_public)
_GC_THRESHOLDS = (50_000, 20, 20)
_CHECK_S = 1.0  # interval of an idle engine's checks for writes to its weight files; a busy one checks in every pass

# Types of errors, and the cause under which TEI's te_request_failure counts them (core/src/infer.rs and
# router/src/http/server.rs). The first type that fits decides. A failed health check is not counted.
_CAUSES: tuple[tuple[type[ServingError] | tuple[type[ServingError], ...], str], ...] = (
    ((EmptyInput, WrongInput, Tokenizer), "tokenization"),
    (BatchTooLarge, "batch_size"),
    ((Empty, Validation), "validation"),
    (WrongModel, "model_type"),
    (Backend, "inference"),
    (Overloaded, "overloaded"),
)


class App:
    """Passes each request to its handler, and replies to failed ones with an error.

    Args:
        engine: Engine that computes.
        settings: Settings of the engine.
        registry: TEI's metrics.
    """

    def __init__(self, engine: Engine, settings: EngineSettings, registry: Registry) -> None:
        self._registry = registry
        self._engine = engine
        self._key = b"Bearer " + settings.api_key.encode() if settings.api_key else b""
        handlers = Handlers(engine, settings, registry)
        self._routes: dict[str, dict[str, Handler]] = {}
        for route in ROUTES:
            if route.is_on_engine:
                self._routes.setdefault(route.path, {})[route.method] = handlers.of(route)

    def handle(self, exchange: Exchange) -> None:
        """Answer one request in a task of its own, which is cancelled if the client disconnects."""
        methods = self._routes.get(exchange.path)
        method = exchange.method.decode("latin-1")
        if method == "OPTIONS":
            exchange.respond(200, [*PREFLIGHT, *allow(methods or ())], b"")
        elif methods is None:
            exchange.respond(404, CORS, b"")
        elif (handler := methods.get("GET" if method == "HEAD" else method)) is None:
            status = 401 if self._lacks_key(exchange) else 405
            exchange.respond(status, [*CORS, *allow(methods)], b"")
        elif self._key and self._lacks_key(exchange):
            exchange.respond(401, CORS, b"")
        else:
            task = asyncio.get_running_loop().create_task(self._serve(exchange, handler))
            self._engine.latest = task
            # This also keeps the task alive while it waits: the loop itself has only weak references.
            exchange.on_gone = task.cancel  # type: ignore[assignment]  # the result of cancel is ignored here

    def _lacks_key(self, exchange: Exchange) -> bool:
        """Whether a request lacks the API key that its route needs."""
        is_public = exchange.path in _PUBLIC and exchange.method != b"POST"
        given = exchange.header(b"authorization") or b""
        return bool(self._key) and not is_public and not compare_digest(given, self._key)

    async def _serve(self, exchange: Exchange, handler: Handler) -> None:
        try:
            answer = await handler(exchange)
        except RequestError as error:
            answer = Answer(*render_error(exchange.path, error))
        except ServingError as error:
            answer = self._failed(exchange.path, error)
        except asyncio.CancelledError:
            self._registry["te_request_failure"].value("dropped").inc()
            raise
        except Exception:
            log.exception("%s failed", exchange.path)
            answer = self._failed(exchange.path, Backend("Backend error: internal error, see the engine's log"))
        if answer.lines:
            exchange.pass_on(answer.status, exchange.date + answer.lines, answer.body)
        else:
            exchange.respond(answer.status, [*CORS, *answer.headers], answer.body)

    def _failed(self, path: str, error: ServingError) -> Answer:
        """Count a failed request under its cause, and make its reply."""
        cause = next((cause for kinds, cause in _CAUSES if isinstance(error, kinds)), None)
        if cause is not None:
            self._registry["te_request_failure"].value(cause).inc()
        return Answer(*render_error(path, error))


def make_server(engine: Engine, settings: EngineSettings, registry: Registry) -> Server:
    """Make a server of the engine's routes, which does not listen yet."""
    return Server(App(engine, settings, registry).handle, settings.limits, CORS)


async def serve(settings: EngineSettings, *, ready: Callable[[int], None]) -> None:
    """Load the model, listen, call ``ready`` with the port, and serve until SIGTERM or SIGINT.

    Raises:
        ModelError: The model cannot be served with these settings.
        ModelChanged: The model's files changed while they were read.
        WeightsChanged: A mapped file of weights changed while the engine used it.
        OSError: The port cannot be bound.
    """
    registry = Registry(TEI)
    # The model is loaded in this thread: the event loop has no other work yet, and a thread would keep its own heap.
    engine = load(settings, registry)
    try:
        server = make_server(engine, settings, registry)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):  # set before a client can connect
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await _listen(server, settings)
        log.info("listening on %s, port %d", settings.host, server.port)
        # The objects that exist now live on, and those of requests form no cycles: collections would find nothing.
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        ready(server.port)
        while not await _within(_CHECK_S, stop):
            engine.check()
        await server.stop(settings.stop_grace_s)
    finally:
        engine.close()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait up to ``seconds`` for an event; returns whether it is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def _listen(server: Server, settings: EngineSettings) -> None:
    """Listen on the settings' port; if that is 0, on the preferred port if it is free, else on any free port."""
    if settings.port == 0 and settings.preferred_port:
        try:
            return await server.start(host=settings.host, port=settings.preferred_port)
        except OSError as error:
            log.info("port %d is taken now: %s", settings.preferred_port, error)
    return await server.start(host=settings.host, port=settings.port)
