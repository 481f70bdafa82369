"""Records that more than one plane shares."""

from dataclasses import dataclass
from typing import Any


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
