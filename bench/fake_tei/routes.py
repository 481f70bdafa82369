"""TEI's routes: the methods of a path, whether it needs the key, and the answers to other requests. Pure.

Source: TEI 1.9.3 (router/src/http/server.rs), observed on a real one.
"""

from collections.abc import Sequence

from embedfleet.http.cors import CORS, PREFLIGHT, allow
from embedfleet.http.message import Header

INFERRED = frozenset({
    "/", "/invocations", "/embed", "/embed_all", "/embed_sparse", "/rerank", "/predict", "/similarity",
    "/v1/embeddings", "/embeddings", "/vertex",
})  # fmt: skip
"""Paths of POST requests that the model answers."""

ASKED = frozenset({"/tokenize", "/decode"})
"""Paths of POST requests that the tokenizer answers."""

HEALTH = frozenset({"/health", "/ping", "/"})

_READ = frozenset(
    {"/health", "/ping", "/info", "/metrics", "/docs", "/docs/", "/docs/index.html", "/api-doc/openapi.json"}
)
_METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(INFERRED | ASKED, ("POST",)),
    **dict.fromkeys(_READ, ("GET",)),
    "/": ("POST", "GET"),
}
_CLOSED = frozenset((INFERRED | ASKED | {"/info"}) - HEALTH)  # with a key, whatever the method

Refusal = tuple[int, Sequence[Header]]
"""Status and header fields of an answer without a body."""


def is_closed(method: bytes, path: str) -> bool:
    """Whether a path needs the API key, if one is set."""
    return method != b"OPTIONS" and (path in _CLOSED or (path == "/" and method == b"POST"))


def refusal(method: bytes, path: str) -> Refusal | None:
    """Answer to OPTIONS, to an unknown path or to a wrong method; None for any other request."""
    methods = _METHODS.get(path, ())
    if method == b"OPTIONS":
        return 200, [*PREFLIGHT, *allow(methods)]
    if not methods:
        return 404, CORS
    if ("GET" if method == b"HEAD" else method.decode("latin-1")) not in methods:
        return 405, [*CORS, *allow(methods)]
    return None


def unauthorized(method: bytes, path: str) -> Refusal:
    """Answer to a request without the key: 401; for a wrong method, with the headers of its refusal."""
    other = refusal(method, path)
    return 401, CORS if other is None else other[1]
