"""What a person or a program reads about the routes: ``/docs/`` and ``/api-doc/openapi.json``, where TEI has them."""

from typing import Any, Final

import orjson

from embedfleet import __version__
from embedfleet.dialects.serde import forms
from embedfleet.dialects.serde.shapes import Absent, Struct
from embedfleet.http.message import Header

HTML: Final[Header] = (b"content-type", b"text/html")
OPENAPI_PATH: Final = "/api-doc/openapi.json"

_POSTED: Final[tuple[tuple[str, Struct, str], ...]] = (
    ("/embed", forms.EMBED, "a vector for each input"),
    ("/embed_all", forms.EMBED_ALL, "the last state of each token"),
    ("/embed_sparse", forms.EMBED_SPARSE, "weights of words, of a model that has them"),
    ("/v1/embeddings", forms.EMBEDDINGS, "vectors in OpenAI's shape"),
    ("/rerank", forms.RERANK, "texts by how well they answer a query"),
    ("/predict", forms.PREDICT, "classes of texts or pairs of texts"),
    ("/similarity", forms.SIMILARITY, "cosines of a sentence with others"),
    ("/tokenize", forms.TOKENIZE, "tokens of texts"),
    ("/decode", forms.DECODE, "texts of token ids"),
    ("/vertex", forms.VERTEX, "several requests in Google Vertex's shape"),
)
_GOT: Final = (
    ("/info", "the model and the limits"),
    ("/health", "whether the engine can compute"),
    ("/metrics", "metrics for Prometheus"),
)


def openapi() -> bytes:
    """An OpenAPI description of the routes: names of fields, and which must be there."""
    paths: dict[str, Any] = {path: {"get": _operation(summary)} for path, summary in _GOT}
    for path, struct, summary in _POSTED:
        body = {"required": True, "content": {"application/json": {"schema": _schema(struct)}}}
        paths[path] = {"post": _operation(summary) | {"requestBody": body}}
    about = {"title": "embedfleet, by the API of Text Embeddings Inference", "version": __version__}
    return orjson.dumps({"openapi": "3.0.3", "info": about, "paths": paths})


def docs_page() -> bytes:
    """The routes as a page, which loads nothing from elsewhere."""
    rows = [("GET", path, summary) for path, summary in _GOT]
    rows += [("POST", path, summary) for path, _, summary in _POSTED]
    items = "".join(f"<li><code>{method} {path}</code>: {summary}</li>" for method, path, summary in rows)
    link = f'<a href="{OPENAPI_PATH}">OpenAPI</a>'
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>embedfleet</title>"
        f"<h1>embedfleet {__version__}</h1><ul>{items}</ul><p>{link}</p></html>"
    ).encode()


def _operation(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary}}}


def _schema(struct: Struct) -> dict[str, Any]:
    required = [field.name for field in struct.fields if field.absent is Absent.REFUSED]
    return {"type": "object", "required": required, "properties": {field.name: {} for field in struct.fields}}
