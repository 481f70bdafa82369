"""What the supervisor runs: a process, a container, or a server that somebody else runs."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Literal

Kind = Literal["balancer", "replica"]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What every child has.

    Attributes:
        name: ``embedder-0``, ``bge-embedder-tei-0``, ``nginx-embedder-lb``.
        service: it belongs to.
    """

    name: str
    service: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class ProcessSpec(ChildSpec):
    """A process: a verb of our own command line with its flags.

    Attributes:
        admin: a gateway's admin socket; empty for all else.
        listens: (address, port) of the socket that is held for it; None for all but gateways.
    """

    arguments: tuple[str, ...] = ()
    admin: str = ""
    listens: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class RemoteSpec(ChildSpec):
    """A server that somebody else starts and stops."""

    url: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host inside a container."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class ContainerSpec(ChildSpec):
    """A container; its name is the container's.

    Attributes:
        image: reference.
        tars: files that may hold the image, the likeliest first.
        arguments: after the entrypoint.
        entrypoint: empty for the image's own.
        gpu: UUID of its only GPU; empty for none.
        port: where it listens inside.
        publish: (address, port) on the host; port 0 for any; None if it is reached by its own address.
        model: the folder that a replica serves, as a path, or ``builtin``.
        weights: digest of what that folder holds.
        reading: the settings that change what is computed with it.
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
        """What a replica's answers depend on: two that differ here must never serve side by side.

        The last part of the folder's path is in it, for it is the name by which a replica tells its model.
        """
        return f"{PurePath(self.model).name} {self.weights} {self.reading}".strip()

    @property
    def sees_folder_as_it_is(self) -> bool:
        """Whether nothing that a replica is given was made of its model's folder as that was at the start."""
        return " tei=" not in f" {self.reading}" and all(
            mount.source == self.model for mount in self.mounts if mount.target == self.model
        )

    @property
    def address(self) -> str:
        """``name:port`` as its neighbours on the network reach it."""
        return f"{self.name}:{self.port}"

    @property
    def fingerprint(self) -> str:
        """A digest of everything that makes a running container this one; where its image came from does not."""
        content = {key: value for key, value in asdict(self).items() if key != "tars"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
