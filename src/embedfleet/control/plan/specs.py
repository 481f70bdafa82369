"""The specs of a fleet's children: processes, containers and servers elsewhere."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Literal

Kind = Literal["balancer", "replica"]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """The part of a spec that every child has.

    Attributes:
        name: Unique name, such as ``embedder-0``, ``bge-embedder-tei-0`` or ``nginx-embedder-lb``.
        service: Name of the service that the child belongs to.
        kind: Role of the child: a replica serves a model, a balancer spreads requests.
    """

    name: str
    service: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class ProcessSpec(ChildSpec):
    """A child that is a process: a verb of our own command line with its flags.

    Attributes:
        arguments: Verb and its flags.
        admin: Path of a gateway's admin socket; empty for other processes.
        listens: Address and port of the socket that the fleet holds for a gateway; None for other processes.
    """

    arguments: tuple[str, ...] = ()
    admin: str = ""
    listens: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class RemoteSpec(ChildSpec):
    """A child that is a server elsewhere, which the fleet neither starts nor stops."""

    url: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host inside a container."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class ContainerSpec(ChildSpec):
    """A child that is a container; the child's name is the container's.

    The names of the fields are part of the fingerprint: a renamed field makes the next release replace every container.

    Attributes:
        image: Reference of the image.
        tars: Tars that may hold the image, the likeliest first.
        arguments: Words after the entrypoint.
        entrypoint: Program in place of the image's own; empty for the image's own.
        environment: Variables by name.
        mounts: Folders of the host that the container sees.
        network: Name of the Docker network.
        gpu: UUID of the container's only GPU; empty for none.
        port: Port that it listens on inside.
        publish: Published address and port of the host, port 0 for any free one; None if it is not published.
        model: Path of the folder that a replica serves, or ``builtin``.
        weights: Digest of that folder's content.
        reading: Settings that change what a replica computes from the folder.
    """

    image: str = ""
    tars: tuple[Path, ...] = ()
    arguments: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    network: str = ""
    gpu: str = ""
    port: int = 80
    publish: tuple[str, int] | None = None
    model: str = ""
    weights: str = ""
    reading: str = ""

    @property
    def computes(self) -> str:
        """Everything that a replica's answers depend on; replicas that differ in it must never serve side by side.

        It includes the last part of the folder's path, because a replica reports its model by that name.
        """
        return f"{PurePath(self.model).name} {self.weights} {self.reading}".strip()

    @property
    def sees_folder_as_it_is(self) -> bool:
        """Whether the replica gets the model folder itself, and no correction that was derived from it at the start."""
        return " tei=" not in f" {self.reading}" and all(
            mount.source == self.model for mount in self.mounts if mount.target == self.model
        )

    @property
    def address(self) -> str:
        """``name:port`` under which containers on the network reach it."""
        return f"{self.name}:{self.port}"

    @property
    def fingerprint(self) -> str:
        """Digest of all fields except the tars; a container with another digest must be replaced."""
        content = {key: value for key, value in asdict(self).items() if key != "tars"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def peer_url(replica: ChildSpec) -> str:
    """Return the URL by which containers on the fleet's network reach a replica."""
    if isinstance(replica, ContainerSpec):
        return f"http://{replica.address}"
    assert isinstance(replica, RemoteSpec), "a container cannot reach a process on this machine's loopback"
    return replica.url
