"""The gateway's table of routes: the paths that it answers itself, and methods per path for CORS preflights. Pure.

A replica answers all paths that the gateway does not answer itself.
"""

from typing import Final

from embedfleet.dialects.routes import ROUTES

READS: Final = frozenset({b"GET", b"HEAD"})

OWN_OPERATIONS: Final = {route.path.encode(): route.operation for route in ROUTES if route.is_on_gateway}
"""Operation of each path that the gateway itself answers on GET."""

METHODS: Final[dict[bytes, tuple[str, ...]]] = {
    path.encode(): tuple(route.method for route in ROUTES if route.path == path)
    for path in dict.fromkeys(
        route.path for route in ROUTES if route.is_on_gateway or (route.is_in_tei and route.method == "POST")
    )
}
"""Methods of each known path, in the order of the table; a path with GET also takes HEAD."""

READ_ONLY: Final = frozenset(path for path, methods in METHODS.items() if "POST" not in methods)
"""Paths that the gateway answers itself and that do not take POST."""
