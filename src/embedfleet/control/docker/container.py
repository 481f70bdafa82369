"""A container, and the labels by which one of ours is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedfleet.control.docker.fleet_identity import LABEL_FOLDER, FleetIdentity

# Everything of ours carries these: from them alone `status`, `down` and a later `up` know what is there.
LABEL_SERVICE = "io.embedfleet.service"
LABEL_KIND = "io.embedfleet.kind"
LABEL_FINGERPRINT = "io.embedfleet.fingerprint"
LABEL_PORT = "io.embedfleet.port"
LABEL_MODEL = "io.embedfleet.model"
LABEL_COMPUTES = "io.embedfleet.computes"
LABEL_NETWORK = "io.embedfleet.network"


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the daemon knows it.

    Attributes:
        ours: whether it carries our labels, and is provably this fleet's.
        folder: of its fleet; empty if it carries no such label.
        model: the folder that it was given.
        computes: what its answers depend on; empty if a version made it that did not say so.
        status: Docker's word: created, running, restarting, exited, …
        started: when it last did, as the daemon writes it; changes with every start.
        ip: on the fleet's network; empty if it has none.
        networks: that it is on.
        host: the host's address on which it is published; empty for all of them, or for none.
        published: port of that address; 0 for none.
        restarts: by the daemon's restart policy.
    """

    id: str
    name: str
    ours: bool
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
    device_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, attributes: Mapping[str, Any], owner: FleetIdentity) -> "Container":
        """From the answer of ``/containers/NAME/json``, as a fleet sees it."""
        labels = attributes["Config"].get("Labels") or {}
        state = attributes["State"]
        networks = attributes["NetworkSettings"].get("Networks") or {}
        requests = attributes["HostConfig"].get("DeviceRequests") or []
        host, published = _published(attributes["NetworkSettings"].get("Ports") or {})
        return cls(
            id=attributes["Id"],
            name=attributes["Name"].lstrip("/"),
            ours=LABEL_SERVICE in labels and owner.owns(labels),
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
            device_ids=tuple(device for request in requests for device in request.get("DeviceIDs") or ()),
        )

    @property
    def url(self) -> str:
        """Where this machine reaches it; empty while it does not run."""
        if self.status != "running":
            return ""
        if self.published:
            host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
            return f"http://[{host}]:{self.published}" if ":" in host else f"http://{host}:{self.published}"
        return f"http://{self.ip}:{self.port}" if self.ip else ""


def _number(label: str | None) -> int:
    """A port as a label has it; 0 if it makes no sense: then the container is stale, and no more than that."""
    return int(label) if label and label.isascii() and label.isdigit() else 0


def _published(bindings: Mapping[str, Any]) -> tuple[str, int]:
    """The host's address and port that lead to the container, or nothing."""
    outside = next((outside[0] for outside in bindings.values() if outside), None)
    return (str(outside.get("HostIp") or ""), int(outside["HostPort"])) if outside else ("", 0)
