"""What browsers are told, as TEI tells them: any page may read every answer, and may ask by GET and POST, with JSON.

Source: TEI 1.9.3 (router/src/http/server.rs, tower-http's CORS layer); it says the same whatever a preflight asks for.
"""

from collections.abc import Iterable
from typing import Final

from embedfleet.http.message import Header

CORS: Final[tuple[Header, ...]] = (
    (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
    (b"access-control-allow-origin", b"*"),
)
"""Fields that every answer has."""

CORS_LINES: Final = b"".join(b"%b: %b\r\n" % field for field in CORS)
"""The same as they go on the wire."""

_PREFLIGHT: Final[tuple[Header, ...]] = (
    *CORS,
    (b"access-control-allow-methods", b"GET,POST"),
    (b"access-control-allow-headers", b"content-type"),
)


def preflight(methods: Iterable[str]) -> list[Header]:
    """Fields of the answer to OPTIONS.

    Args:
        methods: that the path takes, as `allow` orders them; none for a path that is not known.
    """
    allowed = allow(methods)
    return [*_PREFLIGHT, allowed] if allowed[1] else [*_PREFLIGHT]


def allow(methods: Iterable[str]) -> Header:
    """The field that names a path's methods: HEAD is there where GET is."""
    named = [name for method in methods for name in ((method, "HEAD") if method == "GET" else (method,))]
    return b"allow", ",".join(named).encode()
