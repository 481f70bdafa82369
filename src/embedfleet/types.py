"""Records that the gateway and control share."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

URL_HINT = "write http://host:port"
"""Hint for a URL in which `url_fault` finds a fault."""

_VISIBLE = re.compile(r"[!-~]+")
_PORTS = range(1, 65_536)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of a replica, as control gives it to a balancer.

    Attributes:
        id: Name of the replica, for example ``embedder-0``.
        url: Base URL, ``http://host:port``.
    """

    id: str
    url: str

    def to_json(self) -> dict[str, Any]:
        """The record as the gateway's admin socket carries it."""
        return {"id": self.id, "url": self.url}


@dataclass(frozen=True, slots=True)
class Member:
    """A replica of a pool, as control tells a gateway: a row of ``PUT /replicas`` on the gateway's admin socket.

    Attributes:
        endpoint: Name and address of the replica.
        is_drained: Whether it is to get nothing; None to leave that as it is.
    """

    endpoint: Endpoint
    is_drained: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The member as a row."""
        return self.endpoint.to_json() | ({} if self.is_drained is None else {"drained": self.is_drained})


class ReplicaState(StrEnum):
    """State of a replica, as ``embedfleet status`` shows it.

    The first seven come from a balancer. Control adds the next two, because it knows things that a balancer does not.
    The rest are phases of the replica's process; they stand in until a balancer lists the replica.
    """

    JOINING = "joining"  # listed, but has not inferred yet
    ACTIVE = "active"
    SUSPECT = "suspect"  # late with everything it has; gets nothing new until it answers anything
    DOUBTED = "doubted"  # may be another process: gets nothing new until it has inferred once
    EJECTED = "ejected"  # failed; probes go on
    DRAINING = "draining"  # finishes what it has
    DRAINED = "drained"  # has finished, and is kept out until an operator undrains it

    OUTDATED = "outdated"  # serves, and waits to be replaced
    SILENT = "silent"  # active for its balancer, but does not answer control

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"

    UNKNOWN = "unknown"  # a state that only another version of embedfleet has

    @classmethod
    def of(cls, text: str) -> "ReplicaState":
        """The state with this name; `UNKNOWN` for any other text."""
        try:
            return cls(text)
        except ValueError:
            return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """Work of a replica, as its gateway counts it.

    Attributes:
        requests: Chunks under way.
        tokens: Estimated tokens under way.
        sent: Chunks ever sent.
        slowness: Measured time of its work over the predicted time.
    """

    requests: int = 0
    tokens: int = 0
    sent: int = 0
    slowness: float = 1.0

    @property
    def answered(self) -> int:
        """Number of chunks that are not under way any more."""
        return self.sent - self.requests

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ReplicaLoad | None":
        """The load in a row of a replica; None if the row has none, as behind nginx."""
        if "requests" not in row:
            return None
        return cls(row["requests"], row.get("tokens", 0), row.get("sent", 0), row.get("slowness", 1.0))


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """A balancer's report of one replica: a row of ``GET /replicas`` on the gateway's admin socket.

    Attributes:
        endpoint: Name and address of the replica.
        state: Its state.
        reason: Why it does not serve; empty if it serves.
        load: Its work; None behind nginx, which does not count it.
    """

    endpoint: Endpoint
    state: ReplicaState
    reason: str = ""
    load: ReplicaLoad | None = None

    @property
    def id(self) -> str:
        """Name of the replica."""
        return self.endpoint.id

    @property
    def is_active(self) -> bool:
        """Whether the replica gets requests as usual."""
        return self.state is ReplicaState.ACTIVE

    def to_json(self) -> dict[str, Any]:
        """The report as a row."""
        return self.endpoint.to_json() | state_to_json(self.state, self.load, self.reason)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ReplicaReport":
        """The report in a row."""
        return cls(
            Endpoint(row["id"], row["url"]),
            ReplicaState.of(row["state"]),
            row.get("reason", ""),
            ReplicaLoad.from_json(row),
        )


def state_to_json(state: ReplicaState, load: ReplicaLoad | None, reason: str) -> dict[str, Any]:
    """The part of a replica's row that says how it does; a load that is not known is left out."""
    return {"state": state.value} | (asdict(load) if load is not None else {}) | {"reason": reason}


def url_fault(url: str) -> str:
    """The fault of a replica's URL, in words that follow "the URL"; empty for a valid one, which may have a path."""
    if not _VISIBLE.fullmatch(url):
        return "has blanks, control characters or letters that are not ASCII, or is empty"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"is not valid: {error}"
    if parts.scheme != "http":
        return "does not begin with http://"
    if not parts.hostname:
        return "has no host"
    if port is not None and port not in _PORTS:
        return "has no port between 1 and 65535"
    if "@" in parts.netloc or "?" in url or "#" in url:
        return "has a user, a query or a fragment, which would not reach the replica"
    return ""
