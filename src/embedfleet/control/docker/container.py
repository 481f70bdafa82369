"""A container as the daemon describes it, and the labels that mark our containers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedfleet.control.docker.fleet_identity import LABEL_FOLDER, FleetIdentity

# Every container of ours carries these labels. `status`, `down` and a later `up` find it by them alone.
LABEL_SERVICE = "io.embedfleet.service"
LABEL_KIND = "io.embedfleet.kind"
LABEL_FINGERPRINT = "io.embedfleet.fingerprint"
LABEL_PORT = "io.embedfleet.port"
LABEL_MODEL = "io.embedfleet.model"
LABEL_COMPUTES = "io.embedfleet.computes"
LABEL_NETWORK = "io.embedfleet.network"


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the daemon describes it.

    Attributes:
        id: Id of the container.
        name: Name of the container.
        is_ours: Whether it carries our labels and is provably this fleet's.
        folder: Folder of its fleet; empty without that label.
        service: Name of its service; empty without that label.
        kind: Role: ``replica``, ``balancer`` or ``trial``; empty without that label.
        fingerprint: Digest of the spec that it was made from.
        model: Path of its model folder.
        computes: Everything that its answers depend on, by its spec; empty if an earlier release made it.
        image_id: Id of its image.
        status: Docker's status: created, running, restarting, exited, …
        exit_code: Exit code of its last run.
        started: Time of the last start as the daemon writes it; differs after every start.
        ip: Address on the fleet's network; empty if it has none.
        networks: Names of its networks.
        port: Port that it listens on inside; 0 if the label is not a number.
        host: Address of the host on which it is published; empty for all addresses, or if it is not published.
        published: Published port of the host; 0 for none.
        pid: Process id of its first process; 0 if it does not run.
        restarts: Number of restarts by the daemon's restart policy.
    """

    id: str
    name: str
    is_ours: bool
    folder: str
    service: str
    kind: str
    fingerprint: str
    model: str
    computes: str
    image_id: str
    status: str
    exit_code: int
    started: str
    ip: str
    networks: tuple[str, ...]
    port: int
    host: str
    published: int
    pid: int
    restarts: int

    @classmethod
    def of(cls, attributes: Mapping[str, Any], fleet: FleetIdentity) -> "Container":
        """Read the daemon's answer to ``/containers/NAME/json``; ``fleet`` decides whether it is ours."""
        labels = attributes["Config"].get("Labels") or {}
        state = attributes["State"]
        networks = attributes["NetworkSettings"].get("Networks") or {}
        host, published = _published(attributes["NetworkSettings"].get("Ports") or {})
        return cls(
            id=attributes["Id"],
            name=attributes["Name"].lstrip("/"),
            is_ours=LABEL_SERVICE in labels and fleet.owns(labels),
            folder=labels.get(LABEL_FOLDER, ""),
            service=labels.get(LABEL_SERVICE, ""),
            kind=labels.get(LABEL_KIND, ""),
            fingerprint=labels.get(LABEL_FINGERPRINT, ""),
            model=labels.get(LABEL_MODEL, ""),
            computes=labels.get(LABEL_COMPUTES, ""),
            image_id=attributes["Image"],
            status=state["Status"],
            exit_code=int(state["ExitCode"]),
            started=state["StartedAt"],
            ip=next((network["IPAddress"] for network in networks.values() if network.get("IPAddress")), ""),
            networks=tuple(networks),
            port=_number(labels.get(LABEL_PORT)),
            host=host,
            published=published,
            pid=int(state.get("Pid") or 0),
            restarts=int(attributes.get("RestartCount") or 0),
        )

    @property
    def url(self) -> str:
        """URL by which this machine reaches it; empty while it does not run."""
        if self.status != "running":
            return ""
        if self.published:
            host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
            return f"http://[{host}]:{self.published}" if ":" in host else f"http://{host}:{self.published}"
        return f"http://{self.ip}:{self.port}" if self.ip else ""


def _number(label: str | None) -> int:
    """Return the port in a label; 0 if it is not a number, so that the container counts as stale."""
    return int(label) if label and label.isascii() and label.isdigit() else 0


def _published(bindings: Mapping[str, Any]) -> tuple[str, int]:
    """Return the host's address and port on which a container is published; ``("", 0)`` if it is not."""
    outside = next((outside[0] for outside in bindings.values() if outside), None)
    return (str(outside.get("HostIp") or ""), int(outside["HostPort"])) if outside else ("", 0)
