"""The Docker daemon, or Podman behind its Docker-compatible socket: the one home of the ``docker`` package (extra).

Every call blocks: callers on the event loop go through a thread. What the daemon says no to becomes a `DockerError`
with what to do about it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
_CONFLICT = 409  # for a container: somebody removes it already, or it does not run
# Docker keeps every line for ever unless it is told not to; with a single file `logs --follow` breaks.
_LOGS = {"max-size": "10m", "max-file": "3"}
_QUIT_FIRST = "SIGQUIT"  # nginx's word for: finish what you have, then end

_HINTS = (
    (r"permission denied", "add yourself to the group docker (then log in again), or run as root"),
    (r"could not select device driver", "install the NVIDIA container toolkit and restart the daemon"),
    (r"nvidia-container-cli|libnvidia-container|nvml error", "the container toolkit cannot use the driver: nvidia-smi"),
    (r"port is already allocated|address already in use", "stop what listens there, or set another port"),
    (r"no space left", "make room on the daemon's disk (docker system df)"),
    (
        r"Connection refused|No such file|FileNotFoundError|Connection aborted|Not supported URL",
        "start the daemon (systemctl start docker), or set docker_host",
    ),
)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command inside a container did."""

    code: int
    output: str


@dataclass(slots=True)
class Docker:
    """A connection to the daemon.

    Args:
        host: as ``unix:///run/podman/podman.sock``; empty for ``DOCKER_HOST`` or the usual socket.
        owner: the fleet; what is not provably its own is left alone.
    """

    host: str = ""
    owner: FleetIdentity = field(default_factory=FleetIdentity)
    _client: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            import docker  # noqa: PLC0415 - an extra, loaded only when containers are wanted
        except ImportError as error:
            raise DockerError(
                "the Python package docker is not installed", "pip install docker, or start with ./run.sh GPU_TYPE"
            ) from error
        with _worded():
            if self.host:
                self._client = docker.DockerClient(base_url=self.host, timeout=_TIMEOUT_S)
            else:
                self._client = docker.DockerClient.from_env(timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def engine(self) -> ContainerEngine:
        """Ask what it is.

        Raises:
            DockerError: it does not answer.
        """
        with _worded():
            return ContainerEngine.of(self._client.version(), self._client.info())

    # networks

    def ensure_network(self, name: str) -> None:
        """Make the network if it is not there; one that somebody else made is used as it is."""
        with _worded():
            if not self._client.networks.list(names=[f"^{re.escape(name)}$"]):
                self._client.networks.create(
                    name, driver="bridge", labels={LABEL_NETWORK: "1"} | self.owner.labels, check_duplicate=True
                )

    def connect(self, network: str, container: str) -> None:
        """Put a container on a network; it may be there already."""
        with _worded(), self._gone_is_fine():
            self._client.api.connect_container_to_network(container, network)

    def remove_network(self, name: str) -> bool:
        """Remove a network of ours that no container is on, running or not; whether it was."""
        with _worded():
            if self._client.api.containers(all=True, filters={"network": name}):
                return False
            for network in self._client.networks.list(names=[f"^{re.escape(name)}$"]):
                if self._has_made(network.attrs.get("Labels") or {}):
                    network.remove()
                    return True
        return False

    def networks(self) -> list[str]:
        """Names of the networks of ours."""
        with _worded():
            found = self._client.networks.list(filters={"label": LABEL_NETWORK})
            return [network.name for network in found if self._has_made(network.attrs.get("Labels") or {})]

    def _has_made(self, labels: Mapping[str, str]) -> bool:
        """Whether this fleet made a network; of one that a former version made, nobody knows which fleet did."""
        return LABEL_NETWORK in labels and (LABEL_FLEET not in labels or self.owner.owns(labels))

    # containers

    def find(self, name: str) -> Container | None:
        """The container of a name."""
        with _worded():
            attributes = self._attributes(name)
            return Container.of(attributes, self.owner) if attributes is not None else None

    def ours(self) -> list[Container]:
        """Every container of this fleet, running or not."""
        return [container for container in self._labelled() if container.ours]

    def elsewhere(self) -> dict[str, list[str]]:
        """The containers of other fleets, by the folder of their fleet."""
        found: dict[str, list[str]] = {}
        for container in self._labelled():
            if not container.ours:
                found.setdefault(container.folder, []).append(container.name)
        return found

    def _labelled(self) -> list[Container]:
        with _worded():
            rows = self._client.api.containers(all=True, filters={"label": LABEL_SERVICE})
            attributes = [self._attributes_of(row) for row in rows]
            return sorted(
                (Container.of(a, self.owner) for a in attributes if a is not None), key=lambda container: container.name
            )

    def create(
        self, spec: ContainerSpec, request: DeviceRequest = "gpu", *, relabel: bool = False, files: int = 0
    ) -> str:
        """Create a container, not started yet.

        Args:
            spec: what it is to be.
            request: how it is given its GPU.
            relabel: whether SELinux labels must be off for its mounts to be readable.
            files: that its processes may have open; 0 for as many as the daemon gives.

        Returns:
            Its id.
        """
        with _worded():
            created = self._client.containers.create(
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
                    **self.owner.labels,
                },
                mounts=[self._mount(mount) for mount in spec.mounts],
                network=spec.network,
                ports={f"{spec.port}/tcp": spec.publish if spec.publish[1] else (spec.publish[0],)}
                if spec.publish
                else None,
                device_requests=[self._request(spec.gpu, request)] if spec.gpu else None,
                restart_policy={"Name": "unless-stopped"},
                log_config={"type": "json-file", "config": _LOGS},
                security_opt=["label=disable"] if relabel else None,
                ulimits=[self._open_files(files)] if files else None,
                stop_signal=_QUIT_FIRST if spec.kind == "balancer" and not spec.arguments else None,
            )
        return str(created.id)

    def start(self, container: str) -> None:
        """Start a container."""
        with _worded():
            self._client.api.start(container)

    def stop(self, container: str, grace_s: float) -> None:
        """Tell a container to end, end it after ``grace_s`` seconds, and wait; one that is gone is fine."""
        with _worded(), self._gone_is_fine():
            self._client.api.stop(container, timeout=max(0, round(grace_s)))

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        with _worded():
            self._client.api.rename(container, name)

    def kill(self, container: str, number: str = "SIGKILL") -> None:
        """Send a signal; a container that does not run is fine."""
        with _worded(), self._gone_is_fine():
            self._client.api.kill(container, number)

    def remove(self, container: str) -> None:
        """Remove a container, running or not, and return once it is gone, whoever else removes it; gone is fine."""
        errors = _errors()
        with _worded(), self._gone_is_fine():
            try:
                self._client.api.remove_container(container, force=True, v=True)
            except errors.APIError as error:
                if error.status_code != _CONFLICT:
                    raise
                # Another request removes it, and on a busy machine takes its time.
                self._client.api.wait(container, timeout=_TIMEOUT_S, condition="removed")

    def tail(self, container: str, lines: int) -> list[str]:
        """The last lines of what a container said; none if it is gone."""
        output: bytes = b""
        with _worded(), self._gone_is_fine():
            output = self._client.api.logs(container, tail=lines)
        return output.decode("utf-8", "replace").splitlines()

    def execute(self, container: str, command: Iterable[str]) -> ExecResult:
        """Run a command inside a running container."""
        with _worded():
            made = self._client.api.exec_create(container, list(command))
            output = self._client.api.exec_start(made["Id"])
            code = self._client.api.exec_inspect(made["Id"])["ExitCode"]
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
        """Run a throw-away container to its end."""
        with _worded():
            made = self._client.containers.create(
                image,
                list(command),
                entrypoint=entrypoint,
                labels={LABEL_SERVICE: "", LABEL_KIND: "trial", **self.owner.labels},
                mounts=[self._mount(mount) for mount in mounts],
                network=network or None,
                device_requests=[self._request(gpu, request)] if gpu else None,
            )
        try:
            with _worded():
                made.start()
                code = int(made.wait(timeout=_TIMEOUT_S)["StatusCode"])
                return ExecResult(code, made.logs().decode("utf-8", "replace"))
        finally:
            self.remove(made.id)

    # images

    def image_id(self, reference: str) -> str:
        """The id of an image; empty if the daemon has none of that name."""
        errors = _errors()
        with _worded():
            try:
                return str(self._client.api.inspect_image(reference)["Id"])
            except errors.NotFound:
                return ""

    def load(self, chunks: Iterator[bytes]) -> str:
        """Load a tar of images, streamed.

        Returns:
            What the daemon says of it.
        """
        said: list[str] = []
        with _worded():
            for line in self._client.api.load_image(chunks, quiet=False):
                if problem := line.get("error"):
                    raise DockerError(f"the daemon cannot load the image: {problem.strip()}", "save the image anew")
                said.append(line.get("stream", ""))
        return "".join(said).strip()

    def pull(self, reference: str) -> None:
        """Pull an image from its registry."""
        repository, tag = split_reference(reference)
        with _worded():
            self._client.api.pull(repository, tag=tag)

    def _attributes(self, name: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._client.api.inspect_container(name)
        except _errors().NotFound:
            return None
        return found

    def _attributes_of(self, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Of a container of a list: where the daemon cannot tell more of it, what the list tells must do."""
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
    def _gone_is_fine(self) -> Iterator[None]:
        try:
            yield
        except _errors().NotFound:
            return
        except _errors().APIError as error:
            if error.status_code not in {304, _CONFLICT}:  # it had ended; it is not running, or being removed already
                raise

    @staticmethod
    def _mount(mount: Mount) -> Any:  # noqa: ANN401 - of the docker package, which has no types
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
def _worded() -> Iterator[None]:
    """What the package and the connection raise, as errors of ours with what to do."""
    import requests  # noqa: PLC0415 - comes with the docker package

    try:
        yield
    except _errors().NotFound as error:
        raise DockerError(f"the daemon has not got it: {error.explanation or error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DockerError(f"the daemon's answer makes no sense: {error!r}", "see the daemon's log") from error
    except (_errors().DockerException, requests.RequestException, OSError) as error:
        text = str(getattr(error, "explanation", None) or error)
        hint = next(
            (hint for pattern, hint in _HINTS if re.search(pattern, text, re.IGNORECASE)), "see the daemon's log"
        )
        raise DockerError(f"Docker: {text.strip()}", hint) from error
