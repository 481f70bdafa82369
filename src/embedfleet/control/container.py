"""A container, and the labels by which one of ours is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Everything of ours carries these: from them alone `status`, `down` and a later `up` know what is there.
LABEL_SERVICE = "io.embedfleet.service"
LABEL_KIND = "io.embedfleet.kind"
LABEL_FINGERPRINT = "io.embedfleet.fingerprint"
LABEL_PORT = "io.embedfleet.port"
LABEL_MODEL = "io.embedfleet.model"
LABEL_FOLDER = "io.embedfleet.folder"
LABEL_NETWORK = "io.embedfleet.network"


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the daemon knows it.

    Attributes:
        ours: whether it carries our labels, and belongs to no other fleet.
        folder: of its fleet; empty if it carries no such label.
        status: Docker's word: created, running, restarting, exited, …
        started: when it last did, as the daemon writes it; changes with every start.
        ip: on the fleet's network; empty if it has none.
        published: port of the host's loopback or of all its addresses; 0 for none.
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
    image_id: str
    status: str
    exit_code: int
    started: str
    ip: str
    port: int
    published: int
    pid: int
    restarts: int
    device_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, attributes: Mapping[str, Any], own_folder: str) -> "Container":
        """From the answer of ``/containers/NAME/json``, as the fleet in ``own_folder`` sees it."""
        labels = attributes["Config"].get("Labels") or {}
        state = attributes["State"]
        networks = attributes["NetworkSettings"].get("Networks") or {}
        requests = attributes["HostConfig"].get("DeviceRequests") or []
        folder = labels.get(LABEL_FOLDER, "")
        return cls(
            id=attributes["Id"],
            name=attributes["Name"].lstrip("/"),
            ours=LABEL_SERVICE in labels and not _is_anothers(folder, own_folder),
            folder=folder,
            service=labels.get(LABEL_SERVICE, ""),
            kind=labels.get(LABEL_KIND, ""),
            fingerprint=labels.get(LABEL_FINGERPRINT, ""),
            model=labels.get(LABEL_MODEL, ""),
            image_id=attributes["Image"],
            status=state["Status"],
            exit_code=int(state["ExitCode"]),
            started=state["StartedAt"],
            ip=next((network["IPAddress"] for network in networks.values() if network.get("IPAddress")), ""),
            port=int(labels.get(LABEL_PORT) or 0),
            published=_published(attributes["NetworkSettings"].get("Ports") or {}),
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
            return f"http://127.0.0.1:{self.published}"
        return f"http://{self.ip}:{self.port}" if self.ip else ""


def _is_anothers(folder: str, own: str) -> bool:
    """Whether a fleet in another folder has it; of a folder that is gone, moved or removed, anybody may take over."""
    return folder not in {"", own} and Path(folder).is_dir()


def _published(bindings: Mapping[str, Any]) -> int:
    """The host's port that leads to the container, or 0."""
    return next((int(outside[0]["HostPort"]) for outside in bindings.values() if outside), 0)
