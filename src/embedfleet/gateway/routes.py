"""Which methods a path takes at the gateway, pure: for preflights, which need no replica, and for what is its own.

TEI's order (TEI 1.9.3): POST before GET. A path that is not here is a replica's own: it is asked.
"""

from typing import Final

READS: Final = frozenset({b"GET", b"HEAD"})

_POST, _GET = ("POST",), ("GET",)
_POSTED = (
    b"/embed",
    b"/embed_all",
    b"/embed_sparse",
    b"/rerank",
    b"/predict",
    b"/similarity",
    b"/tokenize",
    b"/decode",
    b"/v1/embeddings",
    b"/embeddings",
    b"/invocations",
    b"/vertex",
)
_READ = (b"/health", b"/ping", b"/info", b"/metrics", b"/readyz", b"/livez")

READ_ONLY: Final = frozenset(_READ)
"""Paths that the gateway answers itself, and that take nothing."""

METHODS: Final[dict[bytes, tuple[str, ...]]] = {
    b"/": ("POST", "GET"),
    **dict.fromkeys(_POSTED, _POST),
    **dict.fromkeys(_READ, _GET),
}
"""Methods of each path that is known; HEAD goes with GET."""
