"""What stands for TEI's own pages, pure: the description of its API, and the page that shows it."""

from typing import Any

import orjson

from bench.fake_tei.routes import ASKED, INFERRED

PAGE = b"""<!doctype html>
<title>A stand-in for Text Embeddings Inference</title>
<p>See <a href="/api-doc/openapi.json">the description of its API</a>.
"""

_TOLD = {"/health": "200 while it can infer", "/info": "what is served", "/metrics": "in Prometheus' format"}


def description() -> bytes:
    """OpenAPI's, in brief."""
    posted = {path: {"post": _call("see TEI's own documentation")} for path in sorted(INFERRED | ASKED)}
    read = {path: {"get": _call(summary)} for path, summary in _TOLD.items()}
    whole: dict[str, Any] = {
        "openapi": "3.0.3",
        "info": {"title": "A stand-in for Text Embeddings Inference", "version": "1.9.3"},
        "paths": {**posted, **read},
    }
    return orjson.dumps(whole)


def _call(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "the answer"}}}
