"""The table of routes: one row per path and method, with everything that differs between routes.

These use it: the engine's dispatch of paths and its OpenAPI page; the gateway's own pages, its answers to preflights,
its splitting and coalescing of requests, and the fields whose null it replaces; the style of error bodies; the paths of
probes; and docs/reference/routes.md.

How to add a route:

1. Add a row to `ROUTES`. An alias is a copy of the original row with another path, and needs nothing else.
2. For an operation of TEI, declare the fields of its body in `dialects.serde.tei_structs`, so that invalid bodies get
   TEI's messages.
3. Write its parser and its renderer in `dialects.serving`. If the gateway should split its requests, and no reader or
   reply shape of `dialects.splitting` fits, write one there.
4. If the engine serves it, add its handler under the operation's name in `engine.api.handlers`. If not, set
   ``is_on_engine=False``. If the gateway answers it itself, add its handler in `gateway.app`.

Tests check that every row is served where it says so, and that no other module of the package contains a path.

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
"""The operation that depends on the kind of model (`own_operation`)."""


class Route(NamedTuple):
    """One path with one method.

    Attributes:
        path: Path of the route.
        operation: Name of the operation. Aliases share it; handlers are found by it.
        summary: Description of the answer, for the pages that list routes.
        method: ``POST`` or ``GET``; a route with GET also takes HEAD.
        struct: Fields of the body as TEI declares them; None for a body that is not TEI's.
        reader: Reader that finds the texts to split in the body; None if the gateway sends the request whole.
        reply: Shape of the reply, which joins the replies to parts. With `is_per_token`, an answer may have a vector
            per token, which raises the size limit of a reply. None if `reader` is None.
        error_style: JSON shape of error bodies.
        can_coalesce: Whether the gateway may send the single texts of several requests as one request. Bodies and
            replies must have the shape of ``/embed`` (`coalescing`).
        is_on_engine: Whether the engine serves the route.
        is_on_gateway: Whether the gateway answers itself, without a replica.
        is_in_tei: Whether TEI has the route. The gateway answers preflights for TEI's routes; for others, it asks a
            replica.
        is_public: Whether the engine serves the route without its API key.
        is_listed: Whether the engine's OpenAPI page lists the route.
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
"""All routes. For a path with two methods, POST comes first, because TEI (1.9.3) lists the methods in this order."""

_PATHS: Final = {route.operation: route.path for route in reversed(ROUTES)}
_POSTED: Final = {route.path: route for route in ROUTES if route.method == "POST"}
_STYLES: Final = {route.path: route.error_style for route in ROUTES}
# OpenAI's clients ask for other paths under /v1/, and expect errors in their shape there too.
_OPENAI_PREFIXES: Final = ("/v1/", *(route.path for route in ROUTES if route.error_style is ErrorStyle.OPENAI))


def path_of(operation: str) -> str:
    """The path of an operation; if there are several, the first one in the table.

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
