"""What TEI tells browsers, and who asks which methods a path has (TEI 1.9's CORS layer; axum's ``allow``)."""

from collections.abc import Iterable
from typing import Final

from embedfleet.http.message import Header

CORS: Final[tuple[Header, ...]] = (
    (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
    (b"access-control-allow-origin", b"*"),
)
"""In every answer: any origin may read it."""

PREFLIGHT: Final[tuple[Header, ...]] = (
    *CORS,
    (b"access-control-allow-methods", b"GET,POST"),
    (b"access-control-allow-headers", b"content-type"),
)
"""In the answer to OPTIONS: GET and POST, and ``content-type`` as the one field that a browser may send."""


def allow(methods: Iterable[str]) -> tuple[Header, ...]:
    """The field that names a path's methods; HEAD is there where GET is. None for a path that is not there."""
    known = set(methods)
    named = [name for name in ("POST", "GET", "HEAD") if name in known or (name == "HEAD" and "GET" in known)]
    return ((b"allow", ",".join(named).encode()),) if named else ()
