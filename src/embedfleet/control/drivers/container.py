"""Driver of replicas and balancers that are containers of a Docker daemon.

Containers outlive the supervisor on purpose: if it is killed, they keep serving, and the next supervisor takes over
those that match their specs.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from typing_extensions import override

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.container_engine import DeviceRequest
from embedfleet.control.docker.replaced_containers import set_aside
from embedfleet.control.docker.stopping import stop_container
from embedfleet.control.drivers.base import Driver, Found
from embedfleet.control.drivers.running_container import RunningContainer
from embedfleet.control.models.digest import digest_folder
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec
from embedfleet.errors import DockerError, UsageError
from embedfleet.probe.pool_model import CHANGE_ALLOWED_S

log = logging.getLogger(__name__)


class ContainerDriver(Driver):
    """Driver of containers.

    Args:
        docker: Docker daemon.
        request: Form of the request by which a container gets its GPU.
        without_selinux: Whether to turn SELinux labels off, because they would hide the mounts.
        files: Limit of open files in a container; 0 for the daemon's default.
        stop_grace_s: Time in which a container must end when it is replaced, in seconds.
        said: Function that takes the name and the last lines of a container that has ended.
    """

    can_restart = True

    def __init__(
        self,
        docker: Docker,
        *,
        request: DeviceRequest,
        without_selinux: bool,
        files: int = 0,
        stop_grace_s: float,
        said: Callable[[str, list[str]], None],
    ) -> None:
        self._docker = docker
        self._request = request
        self._without_selinux = without_selinux
        self._files = files
        self._stop_grace_s = stop_grace_s
        self._said = said
        self._keeps_formers = True
        self._weights: dict[str, str] = {}  # digests of the models that an operator allowed, by service
        self._allowed_until: dict[str, float] = {}  # end of an operator's permission, by service

    def settle(self) -> None:
        """Note that the fleet serves: from now on, replaced containers are removed instead of set aside."""
        self._keeps_formers = False

    @override
    async def start(self, spec: ChildSpec, *, preferred_port: int) -> RunningContainer:
        assert isinstance(spec, ContainerSpec)
        try:
            container = await asyncio.to_thread(self._provide, spec)
        except DockerError as error:
            raise OSError(f"{error.message} ({error.hint})") from error
        running = RunningContainer(self._docker, container, spec.network, self._said)
        running.watch()
        return running

    @override
    async def find(self, spec: ChildSpec) -> Found | None:
        assert isinstance(spec, ContainerSpec)
        return await asyncio.to_thread(self._find, spec)

    def _find(self, spec: ContainerSpec) -> Found | None:
        container = self._docker.find(spec.name)
        if container is None:
            return None
        if not container.is_ours:
            raise foreign_container_error(container)
        return Found(container.url, self._differs(container, spec), has_other_model(container, spec))

    @override
    async def clear(self, spec: ChildSpec) -> None:
        assert isinstance(spec, ContainerSpec)
        try:
            container = await asyncio.to_thread(self._docker.find, spec.name)
            if container is not None and container.is_ours:
                await asyncio.to_thread(self._retire, container)
        except DockerError as error:
            raise OSError(f"{error.message} ({error.hint})") from error

    @override
    def allow_new_model(self, service: str) -> None:
        self._allowed_until[service] = time.monotonic() + CHANGE_ALLOWED_S

    def _retire(self, container: Container) -> None:
        if self._keeps_formers:
            set_aside(self._docker, container, self._stop_grace_s)
        else:
            stop_container(self._docker, container, self._stop_grace_s)
            self._docker.remove(container.id)

    def _provide(self, spec: ContainerSpec) -> Container:
        container = self._docker.find(spec.name)
        if container is not None and not container.is_ours:
            raise foreign_container_error(container)
        spec = self._with_weights(spec, container)
        if container is not None and (self._differs(container, spec) or container.status not in {"running", "exited"}):
            self._retire(container)
            container = None
        if container is None:
            self._docker.ensure_network(spec.network)
            self._make(spec)
        else:
            if spec.network not in container.networks:
                self._docker.ensure_network(spec.network)
                self._docker.join_network(spec.network, container.id)
            if container.status != "running":
                self._start(container.id)
        found = self._docker.find(spec.name)
        if found is None:
            raise DockerError(
                f"{spec.name} was removed while it was started", "check what else removes containers on this machine"
            )
        return found

    def _with_weights(self, spec: ContainerSpec, container: Container | None) -> ContainerSpec:
        """Return the spec with the digest of its model folder, which must be the model that the other replicas serve.

        If it is another model, the container of this name is stopped: the daemon restarts containers by the path of the
        folder, whatever the folder holds by then.

        Raises:
            DockerError: The folder holds another model, and no operator has allowed it.
        """
        if not spec.weights:
            return spec
        now, wanted = digest_folder(Path(spec.model)), self._weights.get(spec.service, spec.weights)
        if now != wanted:
            if time.monotonic() > self._allowed_until.get(spec.service, 0.0):
                if container is not None:
                    self._docker.stop(container.id, 0)
                raise DockerError(
                    f"{spec.model} holds another model than when the fleet was started",
                    "put the former model back; or, to serve this one, run embedfleet up --new-model",
                )
            if not spec.sees_folder_as_it_is:
                raise DockerError(
                    f"{spec.model} holds another model, but TEI gets a corrected copy of the former one",
                    "run embedfleet down, then embedfleet up",
                )
            log.warning("%s serves another model than before from %s: an operator allowed it", spec.service, spec.model)
            self._weights[spec.service] = now
            del self._allowed_until[spec.service]  # the permission is for one change
        return replace(spec, weights=now)

    def _make(self, spec: ContainerSpec) -> None:
        """Create and start a container; if the daemon cannot set the limit of open files, it keeps the default."""
        try:
            self._start(
                self._docker.create(spec, self._request, without_selinux=self._without_selinux, files=self._files)
            )
        except DockerError as error:
            if not self._files or "rlimit" not in error.message:
                raise
            log.warning("containers cannot have %d files open: %s", self._files, error.message)
            self._files = 0
            self._start(self._docker.create(spec, self._request, without_selinux=self._without_selinux))

    def _start(self, container: str) -> None:
        """Start a container; if that fails, remove it, because the next start would take it over."""
        try:
            self._docker.start(container)
        except DockerError:
            self._docker.remove(container)
            raise

    def _differs(self, container: Container, spec: ContainerSpec) -> bool:
        image = self._docker.image_id(spec.image)
        return container.fingerprint != spec.fingerprint or bool(image and container.image_id != image)


def has_other_model(container: Container, spec: ContainerSpec) -> bool:
    """Whether a container computes something other than its spec says.

    A container that an earlier version made shows only the path of its folder. If the content has changed since, the
    container's answers show it later.
    """
    if spec.kind == "balancer":
        return False
    if not container.computes:
        return container.model != spec.model
    return container.computes != spec.computes


def foreign_container_error(container: Container) -> UsageError:
    """Make the error for a container whose name this fleet needs, but which is not the fleet's own."""
    if container.folder:
        return UsageError(
            f"the container {container.name} belongs to the fleet in {container.folder}",
            f"run embedfleet down in {container.folder}, or set another `upstream` and `network` here",
        )
    return UsageError(
        f"the container {container.name} exists, but embedfleet did not make it",
        f"docker rename {container.name} …, or docker rm -f {container.name}, or set another `upstream`",
    )
