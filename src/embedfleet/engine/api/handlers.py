"""The handlers of the engine's routes: each reads a request, calls its operation, and writes the reply.

`Handlers.of` finds the handler of a row of `dialects.routes` by its operation.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from embedfleet.dialects.json_body import Fields, read_object
from embedfleet.dialects.routes import MODELS_OWN, Route, own_operation, path_of, posted
from embedfleet.dialects.serde import tei_structs
from embedfleet.dialects.serde.structs import Struct
from embedfleet.dialects.serving import bge_m3, openai, tei
from embedfleet.engine.api.info import info, model_type, served_name
from embedfleet.engine.api.openapi import HTML, docs_page, openapi
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.api.vertex import Vertex
from embedfleet.engine.engine import Engine
from embedfleet.engine.settings import EngineSettings
from embedfleet.http.cors import CORS
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT, Header
from embedfleet.log import dropped_lines
from embedfleet.metrics import Registry

T = TypeVar("T")


@dataclass(slots=True)  # making a frozen one takes three times as long, and each request needs one
class Answer:
    """A complete HTTP reply.

    Attributes:
        lines: All fields as bytes, each with its CRLF, in place of ``headers`` and the CORS fields; empty for none.
    """

    status: int
    headers: Sequence[Header]
    body: bytes
    lines: bytes = b""


Handler = Callable[[Exchange], Awaitable[Answer]]
_COMPUTED = b"".join(b"%b: %b\r\n" % field for field in (*CORS, JSON))
Computation = Callable[[Fields], Awaitable[tuple[bytes, tei.RequestCost]]]
"""Computes the body of a reply from the fields of a request, and returns it with its cost."""


class Handlers:
    """The handlers of one engine.

    Args:
        engine: Engine that computes.
        settings: Settings of the engine.
        registry: TEI's metrics.
    """

    def __init__(self, engine: Engine, settings: EngineSettings, registry: Registry) -> None:
        self._engine = engine
        self._settings = settings
        self._registry = registry
        self._operations = Operations(engine, settings)
        self._vertex = Vertex(model_type(engine.spec, late_interaction=engine.is_late_interaction))
        self._measures = {kind: _Measures(registry, kind) for kind in ("embed", "predict")}
        self._computations: dict[str, Computation] = {
            "embed": self._embed,
            "embed_all": self._embed_all,
            "embed_sparse": self._embed_sparse,
            "encode": self._encode,
            "embeddings": self._embeddings,
            "rerank": self._rerank,
            "predict": self._predict,
            "similarity": self._similarity,
        }
        self._others: dict[str, Handler] = {
            "tokenize": self._tokenize,
            "decode": self._decode,
            "vertex": self._answer_vertex,
            "health": self._health,
            "info": self._info,
            "metrics": self._metrics,
            "docs": _page(HTML, docs_page()),
            "docs_redirect": _redirect,
            "openapi": _page(JSON, openapi()),
        }

    def of(self, route: Route) -> Handler:
        """Find the handler of a route.

        Raises:
            KeyError: The route's operation has no handler.
        """
        if route.operation == MODELS_OWN:
            main = posted(path_of(self._own_operation()))
            assert main is not None, "a model's own operation has a route"
            route = main
        compute = self._computations.get(route.operation)
        return self._others[route.operation] if compute is None else _computing(route.struct, compute)

    def _own_operation(self) -> str:
        """The operation of ``POST /`` for this model."""
        return own_operation("reranker" if self._engine.is_late_interaction else self._engine.spec.kind)

    async def _embed(self, fields: Fields) -> tuple[bytes, tei.RequestCost]:
        request = tei.parse_embed(fields)
        vectors, cost = await self._measured(
            "embed", len(request.inputs), request.batch, self._operations.embed(request)
        )
        return tei.render(vectors), cost

    async def _embed_all(self, fields: Fields) -> tuple[bytes, tei.RequestCost]:
        request = tei.parse_embed_all(fields)
        work = self._operations.embed_all(request, colbert=fields.boolean("colbert", default=False))
        states, cost = await self._measured("embed", len(request.inputs), request.batch, work)
        return tei.render(states), cost

    async def _embed_sparse(self, fields: Fields) -> tuple[bytes, tei.RequestCost]:
        request = tei.parse_embed_all(fields)
        work = self._operations.embed_sparse(request)
        weights, cost = await self._measured("embed", len(request.inputs), request.batch, work)
        return tei.render([tei.sparse(row) for row in weights]), cost

    async def _encode(self, fields: Fields) -> tuple[bytes, tei.RequestCost]:
        request = bge_m3.parse_encode(fields)
        work = self._operations.encode(request)
        encodings, cost = await self._measured("embed", len(request.embed.inputs), request.embed.batch, work)
        return bge_m3.render_encodings(encodings), cost

    async def _embeddings(self, fields: Fields) -> tuple[bytes, tei.RequestCost]:
        request = openai.parse_embeddings(fields)
        work = self._operations.embeddings(request)
        vectors, cost = await self._measured("embed", len(request.inputs), request.batch, work)
        body = openai.render_embeddings(
            vectors, base64=request.base64, model=served_name(self._settings), tokens=cost.tokens
        )
        return body, cost

    async def _rerank(self, fields: Fields) -> tuple[bytes, tei.RequestCost]:
        request = tei.parse_rerank(fields)
        work = self._operations.rerank(request, bge_m3.parse_scoring(fields))
        scores, cost = await self._measured("predict", len(request.texts), True, work)
        return tei.render_ranks(scores, request.texts if request.return_text else None), cost

    async def _predict(self, fields: Fields) -> tuple[bytes, tei.RequestCost]:
        request = tei.parse_predict(fields)
        work = self._operations.predict(request)
        rows, cost = await self._measured("predict", len(request.inputs), request.batch, work)
        return tei.render(rows if request.batch else rows[0]), cost

    async def _similarity(self, fields: Fields) -> tuple[bytes, tei.RequestCost]:
        request = tei.parse_similarity(fields)
        scoring = bge_m3.parse_scoring(fields.optional_object("parameters"))
        work = self._operations.similarity(request, scoring)
        scores, cost = await self._measured("embed", len(request.sentences) + 1, True, work)
        return tei.render(np.ascontiguousarray(scores)), cost

    async def _answer_vertex(self, exchange: Exchange) -> Answer:
        fields = _fields(exchange, tei_structs.VERTEX)
        found = self._vertex.read(fields.sequence("instances"))
        computing = (self._computations[operation](instance) for operation, instance in found)
        replies = await asyncio.gather(*computing, return_exceptions=True)
        bodies = []
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
            bodies.append(reply[0])
        return Answer(200, (JSON,), b'{"predictions":[' + b",".join(bodies) + b"]}")

    async def _tokenize(self, exchange: Exchange) -> Answer:
        request = tei.parse_tokenize(_fields(exchange, tei_structs.TOKENIZE))
        return Answer(200, (JSON,), tei.render(await self._operations.tokenize(request)))

    async def _decode(self, exchange: Exchange) -> Answer:
        request = tei.parse_decode(_fields(exchange, tei_structs.DECODE))
        return Answer(200, (JSON,), tei.render(await self._operations.decode(request)))

    async def _health(self, exchange: Exchange) -> Answer:  # noqa: ARG002 - every handler takes the exchange
        await self._engine.health()
        return Answer(200, (), b"")

    async def _metrics(self, exchange: Exchange) -> Answer:  # noqa: ARG002
        self._registry["te_queue_size"].value().set(self._engine.queued)
        self._registry["te_log_dropped"].value().set(dropped_lines())
        shown = self._registry.used()
        if shown:  # as in TEI, nothing is shown before a metric has a value
            shown.add("te_queue_size")
        return Answer(200, (TEXT,), self._registry.expose(shown))

    async def _info(self, exchange: Exchange) -> Answer:  # noqa: ARG002
        spec, late = self._engine.spec, self._engine.is_late_interaction
        body = info(spec, self._settings, late_interaction=late, precision=self._engine.precision)
        return Answer(200, (JSON,), tei.render(body))

    async def _measured(
        self, kind: str, inputs: int, batch: bool, work: Awaitable[tuple[T, tei.RequestCost]]
    ) -> tuple[T, tei.RequestCost]:
        """Await ``work`` and record it in TEI's metrics."""
        measures, method = self._measures[kind], "batch" if batch else "single"
        measures.requests.value(method).inc()
        started = time.perf_counter()
        value, cost = await work
        measures.succeeded(method, inputs, cost, time.perf_counter() - started)
        return value, cost


class _Measures:
    """TEI's metrics of successful requests of one kind.

    Args:
        registry: TEI's metrics.
        kind: Kind of the requests, ``embed`` or ``predict``.

    Attributes:
        requests: Number of requests received, by method.
    """

    def __init__(self, registry: Registry, kind: str) -> None:
        self.requests = registry["te_request_count"]
        self._successes = registry["te_request_success"]
        self._inputs = registry[f"te_{kind}_success"].value()
        self._request_s = registry["te_request_duration"].histogram()
        self._input_s = registry[f"te_{kind}_duration"].histogram()
        self._stages = [
            [registry[f"te_{of}_{stage}_duration"].histogram() for of in ("request", kind)]
            for stage in ("tokenization", "queue", "inference")
        ]

    def succeeded(self, method: str, inputs: int, cost: tei.RequestCost, seconds: float) -> None:
        """Record a request: request metrics once, input metrics once per input.

        Each input is recorded with the mean of its request, so that counts and sums equal TEI's.
        """
        self._successes.value(method).inc()
        self._inputs.inc(inputs)
        self._request_s.observe(seconds)
        stages = (cost.tokenization_s, cost.queue_s, cost.inference_s)
        for (of_request, of_input), taken in zip(self._stages, stages, strict=True):
            of_request.observe(taken)
            of_input.observe(taken, inputs)
        self._input_s.observe(cost.total_s if inputs == 1 else sum(stages), inputs)


def _fields(exchange: Exchange, struct: Struct | None) -> Fields:
    return read_object(exchange.header(b"content-type"), exchange.body, struct)


def _computing(struct: Struct | None, compute: Computation) -> Handler:
    """Make a handler that reads a body's fields and answers with what ``compute`` returns for them."""

    async def answer(exchange: Exchange) -> Answer:
        body, cost = await compute(_fields(exchange, struct))
        return Answer(200, (), body, _COMPUTED + tei.cost_lines(cost))

    return answer


def _page(content_type: Header, body: bytes) -> Handler:
    """Make a handler that always answers with the same page."""

    async def answer(exchange: Exchange) -> Answer:  # noqa: ARG001 - every handler takes the exchange
        return Answer(200, (content_type,), body)

    return answer


async def _redirect(exchange: Exchange) -> Answer:  # noqa: ARG001
    return Answer(303, ((b"location", path_of("docs").encode()),), b"")
