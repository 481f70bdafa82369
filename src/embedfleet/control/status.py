"""The status of a fleet as records and as JSON, for ``GET /status`` and ``embedfleet status``."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from embedfleet.types import ReplicaLoad, ReplicaReport, ReplicaState, state_to_json

_ANSWERING = frozenset({"ready", "running"})  # phases of a process, and of a container that no fleet watches
_WHOLE = frozenset({ReplicaState.ACTIVE, ReplicaState.DRAINING, ReplicaState.DRAINED})


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """The status of a child's process or container.

    Attributes:
        id: Name of the child.
        pid: Process id; None if no process of it runs on this machine.
        phase: Phase of the child's life; "silent" if it does not answer; the daemon's status of a container that no
            fleet watches.
        restarts: Number of restarts.
        last_end: Description of its last end; empty if there was none.
        uptime_s: Time since its start, in seconds.
        pss_bytes: Memory with its share of shared pages, in bytes; 0 if unknown.
    """

    id: str
    pid: int | None = None
    phase: str = ""
    restarts: int = 0
    last_end: str = ""
    uptime_s: float = 0
    pss_bytes: int = 0

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ProcessStatus":
        """Read the process in the row of a balancer or a replica."""
        return cls(
            row["id"],
            row.get("pid"),
            row.get("phase", ""),
            row.get("restarts", 0),
            row.get("last_end", ""),
            row.get("uptime_s", 0),
            row.get("pss_bytes", 0),
        )


@dataclass(frozen=True, slots=True)
class CodeStatus:
    """What the gateways of a fleet that are processes run when they start.

    Attributes:
        state: "compiled", "compiling" or "interpreted".
        reason: Reason why it is not compiled; empty if it is.
        hint: What to do; empty for nothing.
    """

    state: str
    reason: str = ""
    hint: str = ""

    @property
    def text(self) -> str:
        """The same as one line; empty if the code is compiled."""
        if self.state == "compiled":
            return ""
        return f"gateways run interpreted: {self.reason}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True, slots=True)
class BalancerStatus:
    """The status of a service's balancer.

    Attributes:
        process: Its process.
        reason: Reason why it does not answer; empty if it does; None if no fleet watches it.
        code: "compiled" or "interpreted"; empty for nginx, and if unknown.
    """

    process: ProcessStatus
    reason: str | None = None
    code: str = ""

    @property
    def answers(self) -> bool:
        """Whether clients get answers from it."""
        return self.process.phase in _ANSWERING

    def to_json(self) -> dict[str, Any]:
        """Return the balancer as a row."""
        code = {"code": self.code} if self.code else {}
        return asdict(self.process) | ({} if self.reason is None else {"reason": self.reason}) | code

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "BalancerStatus":
        """Read a balancer from a row."""
        return cls(ProcessStatus.from_json(row), row.get("reason"), row.get("code", ""))


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """The status of a replica: its process, and its balancer's report.

    Attributes:
        process: Its process.
        url: URL by which this machine reaches it; empty if it does not listen.
        state: Its state.
        reason: Reason why it does not serve; empty if it serves.
        load: Its load; None if no gateway counts it.
    """

    process: ProcessStatus
    url: str
    state: ReplicaState
    reason: str = ""
    load: ReplicaLoad | None = None

    @property
    def id(self) -> str:
        """Name of the replica."""
        return self.process.id

    @classmethod
    def of(cls, process: ProcessStatus, report: ReplicaReport) -> "ReplicaStatus":
        """Make the status of a replica from its balancer's report."""
        return cls(process, report.endpoint.url, report.state, report.reason, report.load)

    def to_json(self) -> dict[str, Any]:
        """Return the replica as a row."""
        return asdict(self.process) | {"url": self.url} | state_to_json(self.state, self.load, self.reason)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ReplicaStatus":
        """Read a replica from a row."""
        return cls(
            ProcessStatus.from_json(row),
            row.get("url", ""),
            ReplicaState.of(row["state"]),
            row.get("reason", ""),
            ReplicaLoad.from_json(row),
        )


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The status of a service: its balancer and its replicas.

    Attributes:
        name: Name of the service.
        port: Port where clients reach it; 0 if none is open.
        gateway: Its balancer.
        replicas: Its replicas.
    """

    name: str
    port: int
    gateway: BalancerStatus
    replicas: tuple[ReplicaStatus, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the balancer answers, every replica is active, draining or drained, and one of them is active."""
        states = {replica.state for replica in self.replicas}
        return self.gateway.answers and states <= _WHOLE and (not states or ReplicaState.ACTIVE in states)

    def to_json(self) -> dict[str, Any]:
        """Return the service as a JSON object."""
        replicas = [replica.to_json() for replica in self.replicas]
        return {"name": self.name, "port": self.port, "gateway": self.gateway.to_json(), "replicas": replicas}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ServiceStatus":
        """Read a service from a JSON object."""
        replicas = tuple(ReplicaStatus.from_json(each) for each in row["replicas"])
        return cls(row["name"], row["port"], BalancerStatus.from_json(row["gateway"]), replicas)


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The status of a whole fleet.

    Attributes:
        pid: Process id of the supervisor; None if only its containers are left.
        is_ready: Whether the start is over and every service is whole; None without a supervisor.
        pss_bytes: Memory of the supervisor, in bytes.
        services: Its services.
        code: What its gateways run; None if none is a process.
    """

    pid: int | None
    is_ready: bool | None
    pss_bytes: int
    services: tuple[ServiceStatus, ...]
    code: CodeStatus | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every service is whole."""
        return all(service.is_whole for service in self.services)

    def replica(self, name: str) -> ReplicaStatus | None:
        """Return the replica of this name; None if there is none."""
        found = (each for service in self.services for each in service.replicas if each.id == name)
        return next(found, None)

    @property
    def states(self) -> dict[str, ReplicaState]:
        """State of every replica, by name."""
        return {each.id: each.state for service in self.services for each in service.replicas}

    def to_json(self) -> dict[str, Any]:
        """Return the fleet as a JSON object."""
        ready = {} if self.is_ready is None else {"ready": self.is_ready}
        own: dict[str, Any] = {"pid": self.pid} | ready | {"pss_bytes": self.pss_bytes}
        own |= {} if self.code is None else {"code": asdict(self.code)}
        return own | {"services": [service.to_json() for service in self.services]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "FleetStatus":
        """Read a fleet from a JSON object."""
        services = tuple(ServiceStatus.from_json(each) for each in row["services"])
        code = CodeStatus(**row["code"]) if "code" in row else None
        return cls(row["pid"], row.get("ready"), row["pss_bytes"], services, code)
