"""The engine's HTTP face: TEI's routes over one `Engine`."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hmac import compare_digest
from typing import TypeVar

import numpy as np

from embedfleet.dialects.body import Fields, read_object
from embedfleet.dialects.failure import render_failure
from embedfleet.dialects.serde import forms
from embedfleet.dialects.serde.shapes import Struct
from embedfleet.dialects.serving import bge_m3, openai, tei
from embedfleet.engine.api.info import info, model_type, served_name
from embedfleet.engine.api.openapi import HTML, OPENAPI_PATH, docs_page, openapi
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.api.vertex import Vertex
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
from embedfleet.http.message import JSON, TEXT, Header
from embedfleet.http.server import Server
from embedfleet.log import dropped_lines
from embedfleet.metrics import TEI, Registry

log = logging.getLogger(__name__)

T = TypeVar("T")

_OPEN = frozenset({"/", "/health", "/ping", "/metrics", "/docs", "/docs/", "/docs/index.html", OPENAPI_PATH})  # to all
_LOOK_S = 1.0  # an engine without work finds out so soon that its weights were written to; one with work, at once

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
Work = Callable[[Fields], Awaitable[tuple[bytes, tei.Cost]]]
"""What a route does with a body's fields: the reply's body, and what it took."""


class App:
    """Routes requests to the engine and words its answers and errors."""

    def __init__(self, engine: Engine, settings: EngineSettings, registry: Registry) -> None:
        self._engine = engine
        self._settings = settings
        self._registry = registry
        self._operations = Operations(engine, settings)
        self._tasks: set[asyncio.Task[None]] = set()
        self._key = b"Bearer " + settings.api_key.encode() if settings.api_key else b""
        self._vertex = Vertex(model_type(engine.spec, late_interaction=engine.is_late_interaction))
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
            exchange.respond(200, [*PREFLIGHT, *allow(methods or ())], b"")
        elif methods is None:
            exchange.respond(404, CORS, b"")
        elif (route := methods.get("GET" if method == "HEAD" else method)) is None:
            status = 401 if self._is_closed_to(exchange) else 405
            exchange.respond(status, [*CORS, *allow(methods)], b"")
        elif self._key and self._is_closed_to(exchange):
            exchange.respond(401, CORS, b"")
        else:
            task = asyncio.get_running_loop().create_task(self._serve(exchange, route))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            exchange.on_gone = task.cancel  # type: ignore[assignment]  # what cancel returns is of no use here

    def _is_closed_to(self, exchange: Exchange) -> bool:
        """Whether a request lacks the key that its route asks for."""
        is_open = exchange.path in _OPEN and exchange.method != b"POST"
        given = exchange.header(b"authorization") or b""
        return bool(self._key) and not is_open and not compare_digest(given, self._key)

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
        exchange.respond(answer.status, [*CORS, *answer.headers], answer.body)

    def _failed(self, path: str, error: ServingError) -> Answer:
        cause = next((cause for kinds, cause in _CAUSES if isinstance(error, kinds)), None)
        if cause is not None:
            self._registry["te_request_failure"].value(cause).inc()
        return Answer(*render_failure(path, error))

    def _build_routes(self) -> dict[str, dict[str, Route]]:
        works: dict[str, tuple[Struct | None, Work]] = {
            "/embed": (forms.EMBED, self._embed),
            "/embed_all": (forms.EMBED_ALL, self._embed_all),
            "/embed_sparse": (forms.EMBED_SPARSE, self._embed_sparse),
            "/encode": (None, self._encode),
            "/rerank": (forms.RERANK, self._rerank),
            "/predict": (forms.PREDICT, self._predict),
            "/similarity": (forms.SIMILARITY, self._similarity),
            "/v1/embeddings": (forms.EMBEDDINGS, self._embeddings),
            "/embeddings": (forms.EMBEDDINGS, self._embeddings),
        }
        post = {path: _computing(*work) for path, work in works.items()}
        post |= {"/tokenize": self._tokenize, "/decode": self._decode, "/vertex": self._answer_vertex}
        post["/"] = post["/invocations"] = post[self._main_path()]
        health, docs = self._health, _page(HTML, docs_page())
        get: dict[str, Route] = {"/": health, "/health": health, "/ping": health, "/info": self._info}
        get |= {"/metrics": self._metrics, "/docs": _redirect, "/docs/": docs, "/docs/index.html": docs}
        get[OPENAPI_PATH] = _page(JSON, openapi())
        routes: dict[str, dict[str, Route]] = {path: {"POST": route} for path, route in post.items()}
        for path, route in get.items():
            routes.setdefault(path, {})["GET"] = route
        return routes

    def _main_path(self) -> str:
        """What ``POST /`` means for this kind of model."""
        if self._engine.is_late_interaction or self._engine.spec.kind == "reranker":
            return "/rerank"
        return {"classifier": "/predict", "splade": "/embed_sparse"}.get(self._engine.spec.kind, "/embed")

    async def _embed(self, fields: Fields) -> tuple[bytes, tei.Cost]:
        request = tei.parse_embed(fields)
        vectors, cost = await self._counted(
            "embed", len(request.inputs), request.batch, self._operations.embed(request)
        )
        return tei.render(vectors), cost

    async def _embed_all(self, fields: Fields) -> tuple[bytes, tei.Cost]:
        request = tei.parse_embed_all(fields)
        work = self._operations.embed_all(request, colbert=fields.boolean("colbert", default=False))
        states, cost = await self._counted("embed", len(request.inputs), request.batch, work)
        return tei.render(states), cost

    async def _embed_sparse(self, fields: Fields) -> tuple[bytes, tei.Cost]:
        request = tei.parse_embed_all(fields)
        work = self._operations.embed_sparse(request)
        weights, cost = await self._counted("embed", len(request.inputs), request.batch, work)
        return tei.render([tei.sparse(row) for row in weights]), cost

    async def _encode(self, fields: Fields) -> tuple[bytes, tei.Cost]:
        request = bge_m3.parse_encode(fields)
        work = self._operations.encode(request)
        encodings, cost = await self._counted("embed", len(request.embed.inputs), request.embed.batch, work)
        return bge_m3.render_encodings(encodings), cost

    async def _embeddings(self, fields: Fields) -> tuple[bytes, tei.Cost]:
        request = openai.parse_embeddings(fields)
        work = self._operations.embeddings(request)
        vectors, cost = await self._counted("embed", len(request.inputs), request.batch, work)
        body = openai.render_embeddings(
            vectors, base64=request.base64, model=served_name(self._settings), tokens=cost.tokens
        )
        return body, cost

    async def _rerank(self, fields: Fields) -> tuple[bytes, tei.Cost]:
        request = tei.parse_rerank(fields)
        work = self._operations.rerank(request, bge_m3.parse_scoring(fields))
        scores, cost = await self._counted("predict", len(request.texts), True, work)
        return tei.render_ranks(scores, request.texts if request.return_text else None), cost

    async def _predict(self, fields: Fields) -> tuple[bytes, tei.Cost]:
        request = tei.parse_predict(fields)
        work = self._operations.predict(request)
        rows, cost = await self._counted("predict", len(request.inputs), request.batch, work)
        return tei.render(rows if request.batch else rows[0]), cost

    async def _similarity(self, fields: Fields) -> tuple[bytes, tei.Cost]:
        request = tei.parse_similarity(fields)
        scoring = bge_m3.parse_scoring(fields.optional_object("parameters"))
        work = self._operations.similarity(request, scoring)
        scores, cost = await self._counted("embed", len(request.sentences) + 1, True, work)
        return tei.render(np.ascontiguousarray(scores)), cost

    async def _answer_vertex(self, exchange: Exchange) -> Answer:
        works = {"embed": self._embed, "sparse": self._embed_sparse, "rerank": self._rerank, "predict": self._predict}
        fields = _fields(exchange, forms.VERTEX)
        found = self._vertex.read(fields.sequence("instances"))
        replies = await asyncio.gather(*(works[task](one) for task, one in found), return_exceptions=True)
        bodies = []
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
            bodies.append(reply[0])
        return Answer(200, (JSON,), b'{"predictions":[' + b",".join(bodies) + b"]}")

    async def _tokenize(self, exchange: Exchange) -> Answer:
        request = tei.parse_tokenize(_fields(exchange, forms.TOKENIZE))
        return Answer(200, (JSON,), tei.render(await self._operations.tokenize(request)))

    async def _decode(self, exchange: Exchange) -> Answer:
        request = tei.parse_decode(_fields(exchange, forms.DECODE))
        return Answer(200, (JSON,), tei.render(await self._operations.decode(request)))

    async def _health(self, exchange: Exchange) -> Answer:  # noqa: ARG002 - every route takes the exchange
        await self._engine.health()
        return Answer(200, (), b"")

    async def _metrics(self, exchange: Exchange) -> Answer:  # noqa: ARG002
        self._registry["te_queue_size"].value().set(self._engine.queued)
        self._registry["te_log_dropped"].value().set(dropped_lines())
        shown = self._registry.used()
        if shown:  # TEI has no metric before it counts
            shown.add("te_queue_size")
        return Answer(200, (TEXT,), self._registry.expose(shown))

    async def _info(self, exchange: Exchange) -> Answer:  # noqa: ARG002
        spec, late = self._engine.spec, self._engine.is_late_interaction
        told = info(spec, self._settings, late_interaction=late, precision=self._engine.precision)
        return Answer(200, (JSON,), tei.render(told))

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


def _fields(exchange: Exchange, struct: Struct | None) -> Fields:
    return read_object(exchange.header(b"content-type"), exchange.body, struct)


def _computing(struct: Struct | None, work: Work) -> Route:
    """The route of a body of that form that something is computed of."""

    async def answer(exchange: Exchange) -> Answer:
        body, cost = await work(_fields(exchange, struct))
        return Answer(200, (JSON, *tei.cost_headers(cost)), body)

    return answer


def _page(content_type: Header, body: bytes) -> Route:
    """The route of a page that is always the same."""

    async def answer(exchange: Exchange) -> Answer:  # noqa: ARG001 - every route takes the exchange
        return Answer(200, (content_type,), body)

    return answer


async def _redirect(exchange: Exchange) -> Answer:  # noqa: ARG001
    return Answer(303, ((b"location", b"/docs/"),), b"")


def make_server(engine: Engine, settings: EngineSettings, registry: Registry) -> Server:
    """A server of the engine's routes, which does not listen yet."""
    return Server(App(engine, settings, registry).handle, settings.limits, CORS)


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
        server = make_server(engine, settings, registry)
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
