"""The pages that list the engine's routes, as in TEI: one for people, and an OpenAPI description for programs."""

from typing import Any, Final

import orjson

from embedfleet import __version__
from embedfleet.dialects.routes import ROUTES, Route, path_of
from embedfleet.dialects.serde.structs import Absent, Struct
from embedfleet.http.message import Header

HTML: Final[Header] = (b"content-type", b"text/html")

# GET routes before POST routes, each in the order of the table.
_LISTED: Final = sorted((route for route in ROUTES if route.is_listed), key=lambda route: route.method)


def openapi() -> bytes:
    """Make an OpenAPI description of the routes, with the names of fields and whether they are required."""
    paths: dict[str, Any] = {route.path: {route.method.lower(): _operation(route)} for route in _LISTED}
    about = {"title": "embedfleet, by the API of Text Embeddings Inference", "version": __version__}
    return orjson.dumps({"openapi": "3.0.3", "info": about, "paths": paths})


def docs_page() -> bytes:
    """Make an HTML page that lists the routes and loads nothing from other servers."""
    items = "".join(f"<li><code>{route.method} {route.path}</code>: {route.summary}</li>" for route in _LISTED)
    link = f'<a href="{path_of("openapi")}">OpenAPI</a>'
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>embedfleet</title>"
        f"<h1>embedfleet {__version__}</h1><ul>{items}</ul><p>{link}</p></html>"
    ).encode()


def _operation(route: Route) -> dict[str, Any]:
    operation = {"summary": route.summary, "responses": {"200": {"description": route.summary}}}
    if route.struct is None:
        return operation
    body = {"required": True, "content": {"application/json": {"schema": _schema(route.struct)}}}
    return operation | {"requestBody": body}


def _schema(struct: Struct) -> dict[str, Any]:
    required = [field.name for field in struct.fields if field.absent is Absent.REFUSED]
    return {"type": "object", "required": required, "properties": {field.name: {} for field in struct.fields}}
