"""Error replies: TEI's JSON shapes, and plain text for errors of its framework (router/src/http/types.rs)."""

from embedfleet.dialects.error_body import write_error
from embedfleet.dialects.routes import error_style
from embedfleet.errors import Overloaded, RequestError, Saturated, ServingError, Unhealthy
from embedfleet.http.message import JSON, TEXT, Header


def render_error(path: str, error: RequestError | ServingError) -> tuple[int, list[Header], bytes]:
    """Make status, headers and body of the error reply to a request for ``path``."""
    if isinstance(error, RequestError):
        return error.status, [TEXT], str(error).encode()
    headers = [JSON]
    if isinstance(error, Overloaded | Saturated | Unhealthy):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    return error.status, headers, write_error(error, error_style(path))
