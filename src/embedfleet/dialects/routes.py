"""The table of routes: everything that differs from one route to another, one row for each path and method.

From it are made: the engine's dispatch of paths and its OpenAPI page, the gateway's own pages, its answers to
preflights, its splitting and coalescing of requests, the fields whose null it replaces, the style of error bodies, the
paths that probes ask, and docs/reference/routes.md.

How to add a route:

1. Add a row to `ROUTES`. An alias repeats the row that it stands for with another path, and needs nothing else.
2. For an operation that TEI has, declare the fields of its body in `dialects.serde.tei_structs`; then wrong bodies are
   refused in TEI's words.
3. Write its parser and its renderer in `dialects.serving`. If the gateway is to split its requests and no reader or
   reply shape of `dialects.splitting` fits, write one there.
4. If the engine serves it, add its handler under the operation's name in `engine.api.handlers`. If not, say
   ``is_on_engine=False``.

Tests hold that every row is served where it says so, and that no other module of the package names a path of a row.

The gateway reads this table, so numpy must not be imported here.
"""

from typing import Final, NamedTuple

from embedfleet.dialects.error_body import ErrorStyle
from embedfleet.dialects.serde import tei_structs
from embedfleet.dialects.serde.structs import Struct
from embedfleet.dialects.splitting.bge_m3_reply import BGE_M3
from embedfleet.dialects.splitting.list_reply import MATRICES, NUMBERS, PREDICTIONS, SPARSE, VECTORS
from embedfleet.dialects.splitting.openai_reply import OPENAI
from embedfleet.dialects.splitting.ranking_reply import RANKING
from embedfleet.dialects.splitting.readers import (
    BodyReader,
    InputsReader,
    PredictReader,
    RerankReader,
    SimilarityReader,
)
from embedfleet.dialects.splitting.reply import ReplyShape

MODELS_OWN: Final = "own"
"""The operation that is another one for each kind of model: `own_operation` says which."""


class Route(NamedTuple):
    """One path with one method.

    Attributes:
        path: Path of the route.
        operation: Name of what it does. Aliases share it; handlers are found by it.
        summary: What it answers, for the pages that list routes.
        method: ``POST`` or ``GET``; HEAD goes with GET.
        struct: Fields of the body as TEI declares them; None for a body that TEI does not have.
        reader: Finds the texts in the body for the gateway to split; None if it sends the request whole.
        reply: Shape of the reply, by which the replies to parts are joined. An answer of a shape with `is_per_token`
            may have a vector for each token, which bounds the size of a reply. None with `reader`.
        error_style: JSON shape of error bodies.
        can_coalesce: Whether the gateway may send single texts of several requests together. Bodies and replies must
            have the shape of ``/embed``, see `coalescing`.
        is_on_engine: Whether the engine serves it.
        is_on_gateway: Whether the gateway answers it itself, without a replica.
        is_in_tei: Whether TEI has it. The gateway answers preflights for TEI's calls; for others it asks a replica.
        is_public: Whether the engine serves it without its API key.
        is_listed: Whether the engine's OpenAPI page lists it.
    """

    path: str
    operation: str
    summary: str
    method: str = "POST"
    struct: Struct | None = None
    reader: BodyReader | None = None
    reply: ReplyShape | None = None
    error_style: ErrorStyle = ErrorStyle.TEI
    can_coalesce: bool = False
    is_on_engine: bool = True
    is_on_gateway: bool = False
    is_in_tei: bool = True
    is_public: bool = False
    is_listed: bool = False


_INPUTS: Final = InputsReader("inputs")
_INPUT: Final = InputsReader("input")

ROUTES: Final = (
    Route(
        "/embed", "embed", "a vector for each input",
        struct=tei_structs.EMBED, reader=_INPUTS, reply=VECTORS, can_coalesce=True, is_listed=True,
    ),
    Route(
        "/embed_all", "embed_all", "the last state of each token",
        struct=tei_structs.EMBED_ALL, reader=_INPUTS, reply=MATRICES, is_listed=True,
    ),
    Route(
        "/embed_sparse", "embed_sparse", "weights of words, of SPLADE models and bge-m3",
        struct=tei_structs.EMBED_SPARSE, reader=_INPUTS, reply=SPARSE, is_listed=True,
    ),
    Route(
        "/encode", "encode", "any of bge-m3's three outputs",
        reader=_INPUTS, reply=BGE_M3, is_in_tei=False,
    ),
    Route(
        "/v1/embeddings", "embeddings", "vectors in OpenAI's shape",
        struct=tei_structs.EMBEDDINGS, reader=_INPUT, reply=OPENAI, error_style=ErrorStyle.OPENAI, is_listed=True,
    ),
    Route(
        "/embeddings", "embeddings", "vectors in OpenAI's shape",
        struct=tei_structs.EMBEDDINGS, reader=_INPUT, reply=OPENAI, error_style=ErrorStyle.OPENAI,
    ),
    Route(
        "/rerank", "rerank", "texts ranked by how well they answer a query",
        struct=tei_structs.RERANK, reader=RerankReader(), reply=RANKING, is_listed=True,
    ),
    Route(
        "/predict", "predict", "classes of texts or pairs of texts",
        struct=tei_structs.PREDICT, reader=PredictReader(), reply=PREDICTIONS, is_listed=True,
    ),
    Route(
        "/similarity", "similarity", "cosines of a sentence with other sentences",
        struct=tei_structs.SIMILARITY, reader=SimilarityReader(), reply=NUMBERS, is_listed=True,
    ),
    Route("/tokenize", "tokenize", "tokens of texts", struct=tei_structs.TOKENIZE, is_listed=True),
    Route("/decode", "decode", "texts of token ids", struct=tei_structs.DECODE, is_listed=True),
    Route(
        "/vertex", "vertex", "several requests in Google Vertex's shape",
        struct=tei_structs.VERTEX, is_listed=True,
    ),
    Route("/", MODELS_OWN, "the reply of the aliased route"),
    Route("/invocations", MODELS_OWN, "the reply of the aliased route"),
    Route("/info", "info", "the model and the limits", method="GET", is_on_gateway=True, is_listed=True),
    Route(
        "/health", "health", "whether the model can compute",
        method="GET", is_on_gateway=True, is_public=True, is_listed=True,
    ),
    Route("/ping", "health", "whether the model can compute", method="GET", is_on_gateway=True, is_public=True),
    Route("/", "health", "whether the model can compute", method="GET", is_on_gateway=True, is_public=True),
    Route(
        "/metrics", "metrics", "metrics for Prometheus",
        method="GET", is_on_gateway=True, is_public=True, is_listed=True,
    ),
    Route(
        "/readyz", "ready", "whether the gateway accepts requests and a replica serves",
        method="GET", is_on_engine=False, is_on_gateway=True, is_in_tei=False,
    ),
    Route(
        "/livez", "live", "whether the gateway's process answers",
        method="GET", is_on_engine=False, is_on_gateway=True, is_in_tei=False,
    ),
    Route("/docs", "docs_redirect", "a redirect to the list of routes", method="GET", is_public=True),
    Route("/docs/", "docs", "the list of routes as a page", method="GET", is_public=True),
    Route("/docs/index.html", "docs", "the list of routes as a page", method="GET", is_public=True),
    Route("/api-doc/openapi.json", "openapi", "the list of routes for programs", method="GET", is_public=True),
)  # fmt: skip
"""All routes. For a path with two methods POST comes first, as in TEI (1.9.3) where a reply lists the methods."""

_PATHS: Final = {route.operation: route.path for route in reversed(ROUTES)}
_POSTED: Final = {route.path: route for route in ROUTES if route.method == "POST"}
_STYLES: Final = {route.path: route.error_style for route in ROUTES}
# Paths without a row: OpenAI's clients ask for others under /v1/, and errors of those are to be in their shape too.
_OPENAI_PREFIXES: Final = ("/v1/", *(route.path for route in ROUTES if route.error_style is ErrorStyle.OPENAI))


def path_of(operation: str) -> str:
    """The path of an operation; of several the first in the table.

    Raises:
        KeyError: No route has this operation.
    """
    return _PATHS[operation]


def posted(path: str) -> Route | None:
    """The route of a POST; None for an unknown path."""
    return _POSTED.get(path)


def error_style(path: str) -> ErrorStyle:
    """The JSON shape of error bodies on a path, known or unknown."""
    style = _STYLES.get(path)
    if style is not None:
        return style
    return ErrorStyle.OPENAI if path.startswith(_OPENAI_PREFIXES) else ErrorStyle.TEI


def own_operation(kind: str) -> str:
    """The operation of the model's own route, ``POST /``, by the kind of model."""
    return _OWN_OPERATIONS.get(kind, "embed")


_OWN_OPERATIONS: Final = {"reranker": "rerank", "classifier": "predict", "splade": "embed_sparse"}
