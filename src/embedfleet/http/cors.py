"""CORS fields for browsers and the ``allow`` field, as TEI sends them (TEI 1.9's CORS layer; axum's ``allow``)."""

from collections.abc import Iterable
from typing import Final

from embedfleet.http.message import Header

CORS: Final[tuple[Header, ...]] = (
    (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
    (b"access-control-allow-origin", b"*"),
)
"""Fields of every reply: any origin may read it."""

PREFLIGHT: Final[tuple[Header, ...]] = (
    *CORS,
    (b"access-control-allow-methods", b"GET,POST"),
    (b"access-control-allow-headers", b"content-type"),
)
"""Fields of the reply to a preflight: GET and POST are allowed, with ``content-type`` as the only extra field."""


def allow(methods: Iterable[str]) -> tuple[Header, ...]:
    """Make the ``allow`` field of a path's methods, with HEAD wherever there is GET; no field without methods."""
    known = set(methods)
    named = [name for name in ("POST", "GET", "HEAD") if name in known or (name == "HEAD" and "GET" in known)]
    return ((b"allow", ",".join(named).encode()),) if named else ()
