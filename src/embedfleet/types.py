"""Records that more than one plane shares."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

URL_HINT = "write http://host:port"
"""What would be right where `url_fault` finds something."""

_VISIBLE = re.compile(r"[!-~]+")
_PORTS = range(1, 65_536)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a replica answers: what control hands to a balancer.

    Attributes:
        id: the replica's name, for example ``embedder-0``.
        url: ``http://host:port``.
    """

    id: str
    url: str

    def to_json(self) -> dict[str, Any]:
        """The record as it goes over the gateway's admin socket."""
        return {"id": self.id, "url": self.url}


def url_fault(url: str) -> str:
    """What is wrong with the URL of a replica, which may have a path; nothing if it is one."""
    if not _VISIBLE.fullmatch(url):
        return "has blanks, control characters or letters that are not ASCII, or is empty"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"is none: {error}"
    if parts.scheme != "http":
        return "does not begin with http://"
    if not parts.hostname:
        return "has no host"
    if port is not None and port not in _PORTS:
        return "has no port between 1 and 65535"
    if "@" in parts.netloc or "?" in url or "#" in url:
        return "has a user, a query or a fragment, which no replica would be told"
    return ""
