"""Records that gateway and control share."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

CODE_HEADER = "x-embedfleet-code"
"""Header of a gateway's list of replicas: "compiled" or "interpreted"."""

URL_HINT = "write http://host:port"
"""Hint for a URL that `url_fault` finds invalid."""

_VISIBLE = re.compile(r"[!-~]+")
_PORTS = range(1, 65_536)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Name and address of a replica, as control gives them to a balancer.

    Attributes:
        id: Name of the replica, for example ``embedder-0``.
        url: Base URL, ``http://host:port``.
    """

    id: str
    url: str

    def to_json(self) -> dict[str, Any]:
        """Return the endpoint as a row for the gateway's admin socket."""
        return {"id": self.id, "url": self.url}


@dataclass(frozen=True, slots=True)
class Member:
    """A desired replica of a gateway: a row of ``PUT /replicas`` on the gateway's admin socket.

    Attributes:
        endpoint: Name and address of the replica.
        is_drained: Whether to drain the replica; None to leave its state unchanged.
    """

    endpoint: Endpoint
    is_drained: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the member as a row."""
        return self.endpoint.to_json() | ({} if self.is_drained is None else {"drained": self.is_drained})


class ReplicaState(StrEnum):
    """State of a replica, as ``embedfleet status`` shows it.

    The first seven come from a balancer. Control adds the next two. The rest are phases
    of the replica's process, which are shown until a balancer lists the replica.
    """

    JOINING = "joining"  # listed, but has not inferred yet
    ACTIVE = "active"
    SUSPECT = "suspect"  # late, without a sign of life; gets nothing new until it gives any answer
    # May be another process, gave an unusable answer, or failed several times; gets nothing new until a probe succeeds.
    DOUBTED = "doubted"
    EJECTED = "ejected"  # failed; is probed until it may serve again
    DRAINING = "draining"  # finishes what it has
    DRAINED = "drained"  # has finished; kept out until an operator undrains it

    OUTDATED = "outdated"  # serves, but waits to be replaced
    SILENT = "silent"  # active in its balancer, but does not answer control

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"

    UNKNOWN = "unknown"  # a state of another version of embedfleet

    @classmethod
    def of(cls, text: str) -> "ReplicaState":
        """Return the state with this name; `UNKNOWN` for any other text."""
        try:
            return cls(text)
        except ValueError:
            return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """Work of a replica, as the gateway counts it.

    Attributes:
        requests: Number of chunks in progress.
        tokens: Estimated tokens in progress.
        sent: Number of chunks ever sent.
        slowness: Measured time of its work divided by the predicted time.
    """

    requests: int = 0
    tokens: int = 0
    sent: int = 0
    slowness: float = 1.0

    @property
    def answered(self) -> int:
        """Number of chunks that are no longer in progress."""
        return self.sent - self.requests

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ReplicaLoad | None":
        """Read the load from a replica's row; None if the row has none, as behind nginx."""
        if "requests" not in row:
            return None
        return cls(row["requests"], row.get("tokens", 0), row.get("sent", 0), row.get("slowness", 1.0))


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """A balancer's report of one replica: a row of ``GET /replicas`` on the gateway's admin socket.

    Attributes:
        endpoint: Name and address of the replica.
        state: State of the replica.
        reason: Cause, in words, of a state other than active; empty if the replica is active.
        load: Work of the replica; None behind nginx, which does not count it.
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
        """Return the report as a row."""
        return self.endpoint.to_json() | state_to_json(self.state, self.load, self.reason)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ReplicaReport":
        """Read a report from a row."""
        return cls(
            Endpoint(row["id"], row["url"]),
            ReplicaState.of(row["state"]),
            row.get("reason", ""),
            ReplicaLoad.from_json(row),
        )


def state_to_json(state: ReplicaState, load: ReplicaLoad | None, reason: str) -> dict[str, Any]:
    """Return the state, load and reason for a replica's row; an unknown load is omitted."""
    return {"state": state.value} | (asdict(load) if load is not None else {}) | {"reason": reason}


def url_fault(url: str) -> str:
    """Describe the fault of a replica's URL, as a predicate; empty for a valid URL, which may have a path."""
    if not _VISIBLE.fullmatch(url):
        return "is empty, or has blanks, control characters or letters that are not ASCII"
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
        return "has a user, a query or a fragment, which a replica would not get"
    return ""
