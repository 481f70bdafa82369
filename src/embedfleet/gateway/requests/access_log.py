"""The access log: one line per request."""

import logging

from embedfleet.http.exchange import Exchange

_log = logging.getLogger("embedfleet.access")


def log_access(exchange: Exchange, status: int, seconds: float, *, replica: str, request_id: bytes) -> None:
    """Log a request: method, path, status, time and replica."""
    _log.info(
        "%s %s %d %.1f ms %s",
        exchange.method.decode("latin-1"),
        exchange.path,
        status,
        seconds * 1000,
        replica,
        extra={"request_id": request_id.decode("latin-1"), "status": status, "replica": replica},
    )
