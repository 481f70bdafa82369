"""The engine's HTTP face: TEI's routes over one `Engine`."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from embedfleet.dialects import encode, openai, tei
from embedfleet.dialects.body import Fields, read_object
from embedfleet.dialects.failure import render_failure
from embedfleet.engine.engine import Engine
from embedfleet.engine.info import info, served_name
from embedfleet.engine.operations import Operations
from embedfleet.engine.pooling_config import Pooling
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.source import resolve_model
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
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT, Header
from embedfleet.http.server import Server
from embedfleet.log import dropped_lines
from embedfleet.metrics import TEI, Registry

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_S = 1.0  # an engine without work finds out so soon that its weights were written to; one with work, at once

# TEI's CORS layer: any origin, GET and POST, and `content-type` as the one header a browser may send.
_CORS: tuple[Header, ...] = (
    (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
    (b"access-control-allow-origin", b"*"),
)
_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET,POST"),
    (b"access-control-allow-headers", b"content-type"),
)
# What TEI's te_request_failure calls the cause (core/src/infer.rs and router/src/http/server.rs); the first that fits.
# That the engine is not healthy is the failure of no request.
_CAUSES: tuple[tuple[type[ServingError] | tuple[type[ServingError], ...], str], ...] = (
    ((EmptyInput, WrongInput, Tokenizer), "tokenization"),
    (BatchTooLarge, "batch_size"),
    ((Empty, Validation), "validation"),
    (WrongModel, "model_type"),
    (Backend, "inference"),
    (Overloaded, "overloaded"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply."""

    status: int
    headers: Sequence[Header]
    body: bytes


Route = Callable[[Exchange], Awaitable[Answer]]


class App:
    """Routes requests to the engine and words its answers and errors."""

    def __init__(self, engine: Engine, settings: EngineSettings, registry: Registry) -> None:
        self._engine = engine
        self._settings = settings
        self._registry = registry
        self._operations = Operations(engine, settings)
        self._tasks: set[asyncio.Task[None]] = set()
        self._routes = self._build_routes()
        self._stages = {
            kind: [
                [registry[f"te_{of}_{stage}_duration"].histogram() for of in ("request", kind)]
                for stage in ("tokenization", "queue", "inference")
            ]
            for kind in ("embed", "predict")
        }

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, in a task of its own that ends when the client leaves."""
        methods = self._routes.get(exchange.path)
        method = exchange.method.decode("latin-1")
        if method == "OPTIONS":
            exchange.respond(200, [*_CORS, *_PREFLIGHT], b"")
        elif methods is None:
            exchange.respond(404, _CORS, b"")
        elif (route := methods.get("GET" if method == "HEAD" else method)) is None:
            exchange.respond(405, [*_CORS, (b"allow", ",".join(methods).encode())], b"")
        else:
            task = asyncio.get_running_loop().create_task(self._serve(exchange, route))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            exchange.on_gone = task.cancel  # type: ignore[assignment]  # what cancel returns is of no use here

    async def _serve(self, exchange: Exchange, route: Route) -> None:
        try:
            answer = await route(exchange)
        except RequestError as error:
            answer = Answer(*render_failure(exchange.path, error))
        except ServingError as error:
            answer = self._failed(exchange.path, error)
        except asyncio.CancelledError:
            self._registry["te_request_failure"].value("dropped").inc()
            raise
        except Exception:
            log.exception("%s failed", exchange.path)
            answer = self._failed(exchange.path, Backend("Backend error: internal error, see the engine's log"))
        exchange.respond(answer.status, [*_CORS, *answer.headers], answer.body)

    def _failed(self, path: str, error: ServingError) -> Answer:
        cause = next((cause for kinds, cause in _CAUSES if isinstance(error, kinds)), None)
        if cause is not None:
            self._registry["te_request_failure"].value(cause).inc()
        return Answer(*render_failure(path, error))

    def _build_routes(self) -> dict[str, dict[str, Route]]:
        post: dict[str, Route] = {
            "/embed": self._embed,
            "/embed_all": self._embed_all,
            "/embed_sparse": self._embed_sparse,
            "/encode": self._encode,
            "/rerank": self._rerank,
            "/predict": self._predict,
            "/similarity": self._similarity,
            "/tokenize": self._tokenize,
            "/decode": self._decode,
            "/v1/embeddings": self._embeddings,
            "/embeddings": self._embeddings,
        }
        get: dict[str, Route] = {"/info": self._info, "/metrics": self._metrics}
        routes = {path: {"POST": route} for path, route in post.items()}
        routes |= {path: {"GET": route} for path, route in get.items()}
        main = self._main_route()
        routes["/"] = {"GET": self._health, "POST": main}
        routes["/health"] = {"GET": self._health}
        routes["/ping"] = {"GET": self._health}
        routes["/invocations"] = {"POST": main}
        return routes

    def _main_route(self) -> Route:
        """What ``POST /`` means for this kind of model."""
        if self._engine.late_interaction or self._engine.spec.kind == "reranker":
            return self._rerank
        routes = {"classifier": self._predict, "splade": self._embed_sparse}
        return routes.get(self._engine.spec.kind, self._embed)

    async def _embed(self, exchange: Exchange) -> Answer:
        request = tei.parse_embed(_fields(exchange))
        vectors, cost = await self._counted(
            "embed", len(request.inputs), request.batch, self._operations.embed(request)
        )
        return _computed(tei.render(vectors), cost)

    async def _embed_all(self, exchange: Exchange) -> Answer:
        fields = _fields(exchange)
        request = tei.parse_embed(fields)
        work = self._operations.embed_all(request, colbert=fields.boolean("colbert", default=False))
        states, cost = await self._counted("embed", len(request.inputs), request.batch, work)
        return _computed(tei.render(states), cost)

    async def _embed_sparse(self, exchange: Exchange) -> Answer:
        request = tei.parse_embed(_fields(exchange))
        work = self._operations.embed_sparse(request)
        weights, cost = await self._counted("embed", len(request.inputs), request.batch, work)
        return _computed(tei.render([tei.sparse(row) for row in weights]), cost)

    async def _encode(self, exchange: Exchange) -> Answer:
        request = encode.parse_encode(_fields(exchange))
        work = self._operations.encode(request)
        encodings, cost = await self._counted("embed", len(request.embed.inputs), request.embed.batch, work)
        return _computed(encode.render_encodings(encodings), cost)

    async def _embeddings(self, exchange: Exchange) -> Answer:
        request = openai.parse_embeddings(_fields(exchange))
        work = self._operations.embeddings(request)
        vectors, cost = await self._counted("embed", len(request.inputs), request.batch, work)
        body = openai.render_embeddings(
            vectors, base64=request.base64, model=served_name(self._settings), tokens=cost.tokens
        )
        return _computed(body, cost)

    async def _rerank(self, exchange: Exchange) -> Answer:
        fields = _fields(exchange)
        request = tei.parse_rerank(fields)
        work = self._operations.rerank(request, encode.parse_scoring(fields))
        scores, cost = await self._counted("predict", len(request.texts), True, work)
        return _computed(tei.render_ranks(scores, request.texts if request.return_text else None), cost)

    async def _predict(self, exchange: Exchange) -> Answer:
        request = tei.parse_predict(_fields(exchange))
        work = self._operations.predict(request)
        rows, cost = await self._counted("predict", len(request.inputs), request.batch, work)
        return _computed(tei.render(rows if request.batch else rows[0]), cost)

    async def _similarity(self, exchange: Exchange) -> Answer:
        fields = _fields(exchange)
        request = tei.parse_similarity(fields)
        scoring = encode.parse_scoring(fields.optional_object("parameters"))
        work = self._operations.similarity(request, scoring)
        scores, cost = await self._counted("embed", len(request.sentences) + 1, True, work)
        return _computed(tei.render(np.ascontiguousarray(scores)), cost)

    async def _tokenize(self, exchange: Exchange) -> Answer:
        request = tei.parse_tokenize(_fields(exchange))
        return Answer(200, (JSON,), tei.render(await self._operations.tokenize(request)))

    async def _decode(self, exchange: Exchange) -> Answer:
        request = tei.parse_decode(_fields(exchange))
        return Answer(200, (JSON,), tei.render(await self._operations.decode(request)))

    async def _health(self, exchange: Exchange) -> Answer:  # noqa: ARG002 - every route takes the exchange
        await self._engine.health()
        return Answer(200, (), b"")

    async def _metrics(self, exchange: Exchange) -> Answer:  # noqa: ARG002
        self._registry["te_queue_size"].value().set(self._engine.queued)
        self._registry["te_log_dropped"].value().set(dropped_lines())
        return Answer(200, (TEXT,), self._registry.expose())

    async def _info(self, exchange: Exchange) -> Answer:  # noqa: ARG002
        return Answer(
            200,
            (JSON,),
            tei.render(
                info(
                    self._engine.spec,
                    self._settings,
                    late_interaction=self._engine.late_interaction,
                    precision=self._engine.precision,
                )
            ),
        )

    async def _counted(
        self, kind: str, inputs: int, batch: bool, work: Awaitable[tuple[T, tei.Cost]]
    ) -> tuple[T, tei.Cost]:
        """Run ``work`` and put it into TEI's metrics: those of requests once, those of inputs for each of them.

        Of an input is told what it took on average of its request's, so that counts and sums are TEI's.
        """
        registry, method = self._registry, "batch" if batch else "single"
        registry["te_request_count"].value(method).inc()
        started = time.perf_counter()
        value, cost = await work
        registry["te_request_success"].value(method).inc()
        registry[f"te_{kind}_success"].value().inc(inputs)
        registry["te_request_duration"].histogram().observe(time.perf_counter() - started)
        stages = (cost.tokenization_s, cost.queue_s, cost.inference_s)
        for (of_request, of_input), seconds in zip(self._stages[kind], stages, strict=True):
            of_request.observe(seconds)
            of_input.observe(seconds, inputs)
        registry[f"te_{kind}_duration"].histogram().observe(cost.total_s if inputs == 1 else sum(stages), inputs)
        return value, cost


def _fields(exchange: Exchange) -> Fields:
    return read_object(exchange.header(b"content-type"), exchange.body)


def _computed(body: bytes, cost: tei.Cost) -> Answer:
    return Answer(200, (JSON, *tei.cost_headers(cost)), body)


def load(settings: EngineSettings, registry: Registry) -> Engine:
    """The engine that the settings describe, warmed up.

    Raises:
        ModelError: the model cannot be served as asked.
    """
    return Engine.load(
        resolve_model(settings.model),
        pooling=None if settings.pooling == "auto" else Pooling(settings.pooling.replace("-", "_")),
        late_interaction=settings.task == "rerank",
        auto_truncate=settings.auto_truncate,
        workers=settings.workers,
        tokenization_workers=settings.tokenization_workers,
        batch_tokens=settings.batch_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        max_concurrent_requests=settings.max_concurrent_requests,
        cache_bytes=settings.cache_mb * 1_000_000,
        backend=settings.backend,
        device=settings.device,
        precision=settings.precision,
        packed=Path(settings.packed_dir) if settings.packed_dir else None,
        registry=registry,
    )


async def serve(settings: EngineSettings, *, ready: Callable[[int], None]) -> None:
    """Load the model, listen, call ``ready`` with the port, and serve until SIGTERM or SIGINT.

    Raises:
        ModelError: the model cannot be served as asked.
        ModelChanged: its files were written to while they were read.
        WeightsChanged: what it computes with was written to.
        OSError: the port cannot be bound.
    """
    registry = Registry(TEI)
    engine = load(settings, registry)  # nobody waits for the loop yet, and a thread would keep a heap of its own
    try:
        server = Server(App(engine, settings, registry).handle, settings.limits)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):  # before anybody can see that we listen
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await _listen(server, settings)
        log.info("listening on %s, port %d", settings.host, server.port)
        ready(server.port)
        while not await _within(_LOOK_S, stop):
            engine.check()
        await server.stop(settings.stop_grace_s)
    finally:
        engine.close()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether something happens in that time."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def _listen(server: Server, settings: EngineSettings) -> None:
    """Listen on the port that was asked for; of the preferred one only if it is free."""
    if settings.port == 0 and settings.preferred_port:
        try:
            return await server.start(host=settings.host, port=settings.preferred_port)
        except OSError as error:
            log.info("port %d is taken now: %s", settings.preferred_port, error)
    return await server.start(host=settings.host, port=settings.port)
