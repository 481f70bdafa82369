"""The client of the Docker daemon, or of Podman behind its Docker-compatible socket.

It is the only module that uses the ``docker`` package, an extra. Every call blocks, so callers on the event loop use a
thread. Every refusal of the daemon becomes a `DockerError` with a hint.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from embedfleet.control.docker.container import (
    LABEL_COMPUTES,
    LABEL_FINGERPRINT,
    LABEL_KIND,
    LABEL_MODEL,
    LABEL_NETWORK,
    LABEL_PORT,
    LABEL_SERVICE,
    Container,
)
from embedfleet.control.docker.container_engine import ContainerEngine, DeviceRequest
from embedfleet.control.docker.fleet_identity import LABEL_FLEET, FleetIdentity
from embedfleet.control.docker.image_name import split_reference
from embedfleet.control.plan.specs import ContainerSpec, Mount
from embedfleet.errors import DockerError

_TIMEOUT_S = 60
_NOT_MODIFIED = 304  # the container has stopped already
_CONFLICT = 409  # the container is being removed already, or does not run
# By default Docker keeps every line for ever. With a single file `logs --follow` breaks.
_LOGS = {"max-size": "10m", "max-file": "3"}
_QUIT_FIRST = "SIGQUIT"  # makes nginx finish its requests before it ends

_HINTS = (
    (r"permission denied", "add yourself to the group docker (then log in again), or run as root"),
    (r"could not select device driver", "install the NVIDIA container toolkit and restart the daemon"),
    (r"nvidia-container-cli|libnvidia-container|nvml error", "the toolkit cannot use the driver: check nvidia-smi"),
    (r"port is already allocated|address already in use", "stop what listens there, or set another port"),
    (r"no space left", "make room on the daemon's disk (docker system df)"),
    (
        r"Connection refused|No such file|FileNotFoundError|Connection aborted|Not supported URL",
        "start the daemon (systemctl start docker), or set docker_host",
    ),
)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The result of a command inside a container."""

    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Docker:
    """A connection to the daemon.

    Attributes:
        client: Client object of the ``docker`` package, which has no types.
        fleet: Fleet that uses the daemon; containers that are not provably its own are left alone.
    """

    client: Any
    fleet: FleetIdentity

    @classmethod
    def connect(cls, host: str = "", fleet: FleetIdentity | None = None) -> "Docker":
        """Connect to the daemon.

        Args:
            host: Address such as ``unix:///run/podman/podman.sock``; empty for ``DOCKER_HOST`` or the usual socket.
            fleet: Fleet that uses the daemon; None for one that owns nothing.

        Raises:
            DockerError: The ``docker`` package is missing, or the daemon does not answer.
        """
        try:
            import docker  # noqa: PLC0415 - an extra, loaded only when containers are wanted
        except ImportError as error:
            raise DockerError(
                "the Python package docker is not installed", "pip install docker, or start with ./run.sh GPU_TYPE"
            ) from error
        with _docker_errors():
            if host:
                client = docker.DockerClient(base_url=host, timeout=_TIMEOUT_S)
            else:
                client = docker.DockerClient.from_env(timeout=_TIMEOUT_S)
        return cls(client, fleet or FleetIdentity())

    def close(self) -> None:
        """Close the connections to the daemon."""
        self.client.close()

    def engine(self) -> ContainerEngine:
        """Ask the daemon for its container engine and the engine's abilities.

        Raises:
            DockerError: The daemon does not answer.
        """
        with _docker_errors():
            return ContainerEngine.of(self.client.version(), self.client.info())

    # networks

    def ensure_network(self, name: str) -> None:
        """Create a network if it does not exist; an existing one is used as it is, whoever made it."""
        with _docker_errors():
            if not self.client.networks.list(names=[f"^{re.escape(name)}$"]):
                self.client.networks.create(
                    name, driver="bridge", labels={LABEL_NETWORK: "1"} | self.fleet.labels, check_duplicate=True
                )

    def join_network(self, network: str, container: str) -> None:
        """Connect a container to a network, unless it is connected already."""
        with _docker_errors(), self._ignoring_gone():
            self.client.api.connect_container_to_network(container, network)

    def remove_network(self, name: str) -> bool:
        """Remove a network of ours unless a container is on it, running or not; return whether it was removed."""
        with _docker_errors():
            if self.client.api.containers(all=True, filters={"network": name}):
                return False
            for network in self.client.networks.list(names=[f"^{re.escape(name)}$"]):
                if self._owns_network(network.attrs.get("Labels") or {}):
                    network.remove()
                    return True
        return False

    def networks(self) -> list[str]:
        """Return the names of our networks."""
        with _docker_errors():
            found = self.client.networks.list(filters={"label": LABEL_NETWORK})
            return [network.name for network in found if self._owns_network(network.attrs.get("Labels") or {})]

    def _owns_network(self, labels: Mapping[str, str]) -> bool:
        """Whether this fleet made a network; one of an earlier release, which names no fleet, counts as its own."""
        return LABEL_NETWORK in labels and (LABEL_FLEET not in labels or self.fleet.owns(labels))

    # containers

    def find(self, name: str) -> Container | None:
        """Return the container with a name; None if there is none."""
        with _docker_errors():
            attributes = self._attributes(name)
            return Container.of(attributes, self.fleet) if attributes is not None else None

    def ours(self) -> list[Container]:
        """Return every container of this fleet, running or not."""
        return [container for container in self._labelled() if container.is_ours]

    def elsewhere(self) -> dict[str, list[str]]:
        """Return the names of other fleets' containers, by the folder of their fleet."""
        found: dict[str, list[str]] = {}
        for container in self._labelled():
            if not container.is_ours:
                found.setdefault(container.folder, []).append(container.name)
        return found

    def _labelled(self) -> list[Container]:
        """Return every container of any fleet, ordered by name."""
        with _docker_errors():
            rows = self.client.api.containers(all=True, filters={"label": LABEL_SERVICE})
            attributes = [self._attributes_of(row) for row in rows]
            found = [Container.of(each, self.fleet) for each in attributes if each is not None]
            return sorted(found, key=lambda container: container.name)

    def create(
        self, spec: ContainerSpec, request: DeviceRequest = "gpu", *, without_selinux: bool = False, files: int = 0
    ) -> str:
        """Create a container without starting it.

        Args:
            spec: Spec of the container.
            request: Form of the request for its GPU.
            without_selinux: Whether to turn SELinux labels off, because they would hide its mounts.
            files: Number of files that each of its processes may have open; 0 for the daemon's default.

        Returns:
            Id of the container.
        """
        with _docker_errors():
            created = self.client.containers.create(
                spec.image,
                list(spec.arguments),
                name=spec.name,
                entrypoint=list(spec.entrypoint) or None,
                environment=spec.environment,
                labels={
                    LABEL_SERVICE: spec.service,
                    LABEL_KIND: spec.kind,
                    LABEL_FINGERPRINT: spec.fingerprint,
                    LABEL_PORT: str(spec.port),
                    LABEL_MODEL: spec.model,
                    LABEL_COMPUTES: spec.computes,
                    **self.fleet.labels,
                },
                mounts=[self._mount(mount) for mount in spec.mounts],
                network=spec.network,
                ports={f"{spec.port}/tcp": spec.publish if spec.publish[1] else (spec.publish[0],)}
                if spec.publish
                else None,
                device_requests=[self._request(spec.gpu, request)] if spec.gpu else None,
                restart_policy={"Name": "unless-stopped"},
                log_config={"type": "json-file", "config": _LOGS},
                security_opt=["label=disable"] if without_selinux else None,
                ulimits=[self._open_files(files)] if files else None,
                stop_signal=_QUIT_FIRST if spec.kind == "balancer" and not spec.arguments else None,
            )
        return str(created.id)

    def start(self, container: str) -> None:
        """Start a container."""
        with _docker_errors():
            self.client.api.start(container)

    def stop(self, container: str, grace_s: float) -> None:
        """Stop a container, kill it after ``grace_s`` seconds, and wait for its end; a missing one is no error."""
        with _docker_errors(), self._ignoring_gone():
            self.client.api.stop(container, timeout=max(0, round(grace_s)))

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        with _docker_errors():
            self.client.api.rename(container, name)

    def kill(self, container: str, number: str = "SIGKILL") -> None:
        """Send a signal to a container; one that does not run is no error."""
        with _docker_errors(), self._ignoring_gone():
            self.client.api.kill(container, number)

    def remove(self, container: str) -> None:
        """Remove a container, running or not, and return once it is gone, even if another client removes it."""
        errors = _errors()
        with _docker_errors(), self._ignoring_gone():
            try:
                self.client.api.remove_container(container, force=True, v=True)
            except errors.APIError as error:
                if error.status_code != _CONFLICT:
                    raise
                # Another client is removing it, which takes a while on a busy machine.
                self.client.api.wait(container, timeout=_TIMEOUT_S, condition="removed")

    def tail(self, container: str, lines: int) -> list[str]:
        """Return the last lines of a container's output; none if it is gone."""
        output: bytes = b""
        with _docker_errors(), self._ignoring_gone():
            output = self.client.api.logs(container, tail=lines)
        return output.decode("utf-8", "replace").splitlines()

    def execute(self, container: str, command: Iterable[str]) -> ExecResult:
        """Run a command inside a running container."""
        with _docker_errors():
            made = self.client.api.exec_create(container, list(command))
            output = self.client.api.exec_start(made["Id"])
            code = self.client.api.exec_inspect(made["Id"])["ExitCode"]
        return ExecResult(int(code), output.decode("utf-8", "replace"))

    def try_out(
        self,
        image: str,
        command: Iterable[str],
        *,
        entrypoint: str | None = None,
        mounts: Iterable[Mount] = (),
        network: str = "",
        gpu: str = "",
        request: DeviceRequest = "gpu",
    ) -> ExecResult:
        """Run a temporary container to its end, remove it, and return its result."""
        with _docker_errors():
            made = self.client.containers.create(
                image,
                list(command),
                entrypoint=entrypoint,
                labels={LABEL_SERVICE: "", LABEL_KIND: "trial", **self.fleet.labels},
                mounts=[self._mount(mount) for mount in mounts],
                network=network or None,
                device_requests=[self._request(gpu, request)] if gpu else None,
            )
        try:
            with _docker_errors():
                made.start()
                code = int(made.wait(timeout=_TIMEOUT_S)["StatusCode"])
                return ExecResult(code, made.logs().decode("utf-8", "replace"))
        finally:
            self.remove(made.id)

    # images

    def image_id(self, reference: str) -> str:
        """Return the id of an image; empty if the daemon has none of that name."""
        errors = _errors()
        with _docker_errors():
            try:
                return str(self.client.api.inspect_image(reference)["Id"])
            except errors.NotFound:
                return ""

    def load(self, chunks: Iterator[bytes]) -> str:
        """Load a tar of images, which is read in chunks.

        Returns:
            The daemon's report.
        """
        report: list[str] = []
        with _docker_errors():
            for line in self.client.api.load_image(chunks, quiet=False):
                if problem := line.get("error"):
                    raise DockerError(f"the daemon cannot load the image: {problem.strip()}", "save the image again")
                report.append(line.get("stream", ""))
        return "".join(report).strip()

    def pull(self, reference: str) -> None:
        """Pull an image from its registry."""
        repository, tag = split_reference(reference)
        with _docker_errors():
            self.client.api.pull(repository, tag=tag)

    def _attributes(self, name: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self.client.api.inspect_container(name)
        except _errors().NotFound:
            return None
        return found

    def _attributes_of(self, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the attributes of a listed container; those in the list if the daemon cannot inspect it."""
        try:
            return self._attributes(row["Id"])
        except _errors().APIError:
            return {
                "Id": row["Id"],
                "Name": row["Names"][0],
                "Image": row["ImageID"],
                "Config": {"Labels": row["Labels"]},
                "State": {"Status": row["State"], "ExitCode": 0, "StartedAt": ""},
                "NetworkSettings": {},
                "HostConfig": {},
            }

    @contextmanager
    def _ignoring_gone(self) -> Iterator[None]:
        """Ignore that a container is gone, has stopped, or is being removed."""
        try:
            yield
        except _errors().NotFound:
            return
        except _errors().APIError as error:
            if error.status_code not in {_NOT_MODIFIED, _CONFLICT}:
                raise

    @staticmethod
    def _mount(mount: Mount) -> Any:  # noqa: ANN401 - the docker package has no types
        from docker.types import Mount as DockerMount  # noqa: PLC0415

        return DockerMount(mount.target, mount.source, type="bind", read_only=mount.read_only)

    @staticmethod
    def _open_files(files: int) -> Any:  # noqa: ANN401
        from docker.types import Ulimit  # noqa: PLC0415

        return Ulimit(name="nofile", soft=files, hard=files)

    @staticmethod
    def _request(gpu: str, request: DeviceRequest) -> Any:  # noqa: ANN401
        from docker.types import DeviceRequest as Request  # noqa: PLC0415

        if request == "cdi":
            return Request(driver="cdi", device_ids=[f"nvidia.com/gpu={gpu}"])
        return Request(device_ids=[gpu], capabilities=[["gpu"]])


def _errors() -> Any:  # noqa: ANN401 - a module without types
    import docker.errors  # noqa: PLC0415

    return docker.errors


@contextmanager
def _docker_errors() -> Iterator[None]:
    """Turn errors of the package and of the connection into `DockerError` with a hint."""
    import requests  # noqa: PLC0415 - comes with the docker package

    try:
        yield
    except _errors().NotFound as error:
        raise DockerError(f"Docker object not found: {error.explanation or error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DockerError(f"invalid answer from the daemon: {error!r}", "see the daemon's log") from error
    except (_errors().DockerException, requests.RequestException, OSError) as error:
        text = str(getattr(error, "explanation", None) or error)
        hint = next(
            (hint for pattern, hint in _HINTS if re.search(pattern, text, re.IGNORECASE)), "see the daemon's log"
        )
        raise DockerError(f"Docker: {text.strip()}", hint) from error
