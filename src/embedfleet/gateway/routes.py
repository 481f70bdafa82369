"""The methods of each path, for preflights, which need no replica, and for the gateway's own routes.

TEI names POST before GET (TEI 1.9.3). A path that is not listed is passed on to a replica.
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
"""Paths that the gateway answers itself, and that can only be read."""

METHODS: Final[dict[bytes, tuple[str, ...]]] = {
    b"/": ("POST", "GET"),
    **dict.fromkeys(_POSTED, _POST),
    **dict.fromkeys(_READ, _GET),
}
"""Methods of each known path; HEAD is allowed wherever GET is."""
