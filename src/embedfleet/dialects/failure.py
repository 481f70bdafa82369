"""Failed replies: TEI's two JSON shapes, and plain text for what its framework refuses.

Source: TEI 1.9 (router/src/http/types.rs). No numpy here: the gateway answers errors too, and stays small.
"""

import orjson

from embedfleet.errors import Overloaded, RequestError, Saturated, ServingError, Unhealthy
from embedfleet.http.message import JSON, TEXT, Header

OPENAI_PATHS = ("/v1/", "/embeddings")
"""Beginnings of the paths whose errors are in OpenAI's shape, as TEI flattens it."""


def render_failure(path: str, error: RequestError | ServingError) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of a reply to a request for ``path`` that failed."""
    if isinstance(error, RequestError):
        return error.status, [TEXT], str(error).encode()
    headers = [JSON]
    if isinstance(error, Overloaded | Saturated | Unhealthy):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if path.startswith(OPENAI_PATHS):
        body = {"message": str(error), "code": error.status, "type": error.error_type}
    else:
        body = {"error": str(error), "error_type": error.error_type}
    return error.status, headers, orjson.dumps(body)
