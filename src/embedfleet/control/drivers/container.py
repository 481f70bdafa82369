"""Replicas and balancers as containers of a Docker daemon.

They outlive us on purpose: a supervisor that is killed leaves them serving, and the next one adopts those that are as
they should be. The daemon restarts one that dies on its own; we see that it did, and where it is now.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.container_engine import DeviceRequest
from embedfleet.control.docker.set_aside import set_aside
from embedfleet.control.docker.stopping import stop_container
from embedfleet.control.drivers.base import Found
from embedfleet.control.host.activity import activity_of
from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.models.digest import digest_folder
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec
from embedfleet.dialects.routes import path_of
from embedfleet.errors import DockerError, UpstreamError, UsageError
from embedfleet.http.client import fetch
from embedfleet.probe.pool_model import CHANGE_ALLOWED_S

log = logging.getLogger(__name__)

_POLL_S = 1.0
_LOADING_POLL_S = 0.2
_ANSWER_S = 5.0
_TAIL = 20
_NEVER_STARTED = 125  # docker run's own code for that
_RESTARTS_WHILE_LOADING = 2  # by the daemon: it will not come up


class RunningContainer:
    """A container that was started or adopted; see `base.Running`."""

    def __init__(
        self, docker: Docker, container: Container, network: str, said: Callable[[str, list[str]], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = container.pid
        self.held = ""
        self.ready: asyncio.Future[str] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._docker = docker
        self._container = container
        self._network = network
        self._said = said
        self._watcher = loop.create_task(self._watch())
        self._remover: asyncio.Task[None] | None = None
        self._killer: asyncio.Task[None] | None = None

    async def stop(self, grace_s: float) -> None:
        """Stop and remove it; one that loads is given no time, since as process 1 it would not hear the signal.

        It has ended only once it is removed: a fleet whose children have all ended says that it is gone.
        """
        self._watcher.cancel()
        code = 0
        try:
            await asyncio.to_thread(self._docker.stop, self._container.id, grace_s if self.ready.done() else 0)
            now = await asyncio.to_thread(self._docker.find, self._container.name)
            code = now.exit_code if now is not None else 0
        except DockerError as error:
            log.warning("%s cannot be stopped: %s", self._container.name, error)
        await self._remove(code)

    def kill(self) -> None:
        """Remove it as it runs."""
        self._remover = asyncio.get_running_loop().create_task(self._remove(-signal.SIGKILL))

    def activity(self) -> Activity | None:
        """See `base.Running`; only of a daemon on this machine, which may be another than the one we talk to."""
        return activity_of(self.pid, container=self._container.id) if self.pid else None

    def kill_hung(self) -> None:
        """See `base.Running`: the container stays, with what it said."""
        if self._killer is None or self._killer.done():
            self._killer = asyncio.get_running_loop().create_task(self._kill())

    async def _kill(self) -> None:
        try:
            await asyncio.to_thread(self._docker.kill, self._container.id)
        except DockerError as error:
            log.warning("%s cannot be killed: %s", self._container.name, error)

    def abandon(self) -> None:
        """Leave it running, and look no more."""
        self._watcher.cancel()
        if not self.ended.done():
            self.ended.set_result(0)

    async def _remove(self, code: int) -> None:
        self._watcher.cancel()
        try:
            await asyncio.to_thread(self._docker.remove, self._container.id)
        except DockerError as error:  # what is left is removed with the rest of the fleet, or named then
            log.warning("%s cannot be removed: %s", self._container.name, error)
        finally:
            if not self.ended.done():
                self.ended.set_result(code)

    async def _watch(self) -> None:
        """Until it has ended, or has been started anew by the daemon, which is another life."""
        said = ""
        while not self.ended.done():
            try:
                await self._look()
                said = ""
            except DockerError as error:  # the daemon restarts, or is too busy: what ran may run still
                if error.message != said:  # once, however long that takes
                    log.warning("%s: %s", self._container.name, error.message)
                said = error.message
            except Exception:  # a watch that ends without a word would leave the container as it last was
                log.exception("%s cannot be looked at", self._container.name)
            await asyncio.sleep(_POLL_S if self.ready.done() else _LOADING_POLL_S)

    async def _look(self) -> None:
        now = await asyncio.to_thread(self._docker.find, self._container.name)
        is_paused = now is not None and now.status == "paused"
        self.held = f"the container is paused; docker unpause {self._container.name}" if is_paused else ""
        if now is None or now.id != self._container.id:
            await self._end(now, _NEVER_STARTED)
        elif now.status in {"exited", "dead"}:
            await self._end(now, now.exit_code or 1)
        elif now.started != self._container.started and self.ready.done():
            await self._end(now, 1)
        elif self.ready.done() and self._network and self._network not in now.networks:
            log.warning("%s is off the network %s: it is put back", now.name, self._network)
            await self._end(now, 1)
        elif self.ready.done() and now.url and now.url != self._container.url:
            log.warning("%s has got another address: %s", now.name, now.url)
            await self._end(now, 1)
        elif not self.ready.done():
            await self._greet(now)

    async def _greet(self, now: Container) -> None:
        """Any answer over HTTP means that it listens; TEI does so only once its model is loaded and warm."""
        if has_given_up(now, self._container.restarts):
            await self._end(now, now.exit_code or 1)
        elif now.url:
            try:
                await fetch(f"{now.url}{path_of('live')}", timeout_s=_ANSWER_S)
            except UpstreamError:
                return
            self._container = now
            self.pid = now.pid
            self.ready.set_result(now.url)

    async def _end(self, now: Container | None, code: int) -> None:
        if now is not None:
            await asyncio.to_thread(self._note_last_words, now)
        if not self.ended.done():
            self.ended.set_result(code)

    def _note_last_words(self, container: Container) -> None:
        self._said(container.name, self._docker.tail(container.id, _TAIL))


class ContainerDriver:
    """Starts containers; see `base.Driver`.

    Args:
        docker: the daemon.
        request: how a container is given its GPU.
        relabel: whether SELinux labels are to be off.
        files: that a container may have open; 0 for as many as the daemon gives.
        stop_grace_s: for a container that is replaced.
        said: told the last lines of a container that ended.
    """

    def __init__(
        self,
        docker: Docker,
        *,
        request: DeviceRequest,
        relabel: bool,
        files: int = 0,
        stop_grace_s: float,
        said: Callable[[str, list[str]], None],
    ) -> None:
        self._docker = docker
        self._request = request
        self._relabel = relabel
        self._files = files
        self._stop_grace_s = stop_grace_s
        self._said = said
        self._keeps_formers = True
        self._weights: dict[str, str] = {}  # by service, since an operator allowed another model
        self._allowed_until: dict[str, float] = {}  # by service

    def settle(self) -> None:
        """The fleet serves: what is replaced from now on is not put back."""
        self._keeps_formers = False

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> RunningContainer:  # noqa: ARG002
        """See `base.Driver`; a container that is there and as it should be is adopted.

        Raises:
            UsageError: a container of that name is not ours.
            OSError: the daemon refuses; what it said is the message.
        """
        assert isinstance(spec, ContainerSpec)
        try:
            container = await asyncio.to_thread(self._provide, spec)
        except DockerError as error:
            raise OSError(f"{error.message} ({error.hint})") from error
        return RunningContainer(self._docker, container, spec.network, self._said)

    async def find(self, spec: ChildSpec) -> Found | None:
        """See `base.Driver`."""
        assert isinstance(spec, ContainerSpec)
        return await asyncio.to_thread(self._find, spec)

    def _find(self, spec: ContainerSpec) -> Found | None:
        container = self._docker.find(spec.name)
        if container is None:
            return None
        if not container.ours:
            raise foreign(container)
        return Found(container.url, self._differs(container, spec), has_other_model(container, spec))

    async def clear(self, spec: ChildSpec) -> None:
        """See `base.Driver`."""
        assert isinstance(spec, ContainerSpec)
        try:
            container = await asyncio.to_thread(self._docker.find, spec.name)
            if container is not None and container.ours:
                await asyncio.to_thread(self._retire, container)
        except DockerError as error:
            raise OSError(f"{error.message} ({error.hint})") from error

    def allow_new_model(self, service: str) -> None:
        """See `base.Driver`."""
        self._allowed_until[service] = time.monotonic() + CHANGE_ALLOWED_S

    def _retire(self, container: Container) -> None:
        if self._keeps_formers:
            set_aside(self._docker, container, self._stop_grace_s)
        else:
            stop_container(self._docker, container, self._stop_grace_s)
            self._docker.remove(container.id)

    def _provide(self, spec: ContainerSpec) -> Container:
        container = self._docker.find(spec.name)
        if container is not None and not container.ours:
            raise foreign(container)
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
            raise DockerError(f"{spec.name} was removed while it was started", "who else removes containers here?")
        return found

    def _with_weights(self, spec: ContainerSpec, container: Container | None) -> ContainerSpec:
        """The spec with what its model folder holds now, which must be what its neighbours were started with.

        The daemon restarts a container that died by the path of its folder, whatever lies there by then: so what runs
        already under the name is stopped as well.
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
                    "put the former one back; or, if the service is to have this one: embedfleet up --new-model",
                )
            if not spec.sees_folder_as_it_is:
                raise DockerError(
                    f"{spec.model} holds another model, and what TEI is given was made of the former one",
                    "embedfleet down, then embedfleet up",
                )
            log.warning("%s serves another model than before from %s: an operator said so", spec.service, spec.model)
            self._weights[spec.service] = now
            del self._allowed_until[spec.service]  # for one change
        return replace(spec, weights=now)

    def _make(self, spec: ContainerSpec) -> None:
        """Create and start it; with as many open files as the daemon gives, if it cannot give those that are wanted."""
        try:
            self._start(self._docker.create(spec, self._request, relabel=self._relabel, files=self._files))
        except DockerError as error:
            if not self._files or "rlimit" not in error.message:
                raise
            log.warning("containers cannot have %d files open: %s", self._files, error.message)
            self._files = 0
            self._start(self._docker.create(spec, self._request, relabel=self._relabel))

    def _start(self, container: str) -> None:
        """Start it, or leave nothing behind: one that cannot be started would be taken for ours the next time."""
        try:
            self._docker.start(container)
        except DockerError:
            self._docker.remove(container)
            raise

    def _differs(self, container: Container, spec: ContainerSpec) -> bool:
        image = self._docker.image_id(spec.image)
        return container.fingerprint != spec.fingerprint or bool(image and container.image_id != image)


def has_other_model(container: Container, spec: ContainerSpec) -> bool:
    """Whether a container computes something else than its spec says.

    Of one that a former version made only the folder is known: whether that holds what it did, answers tell later.
    """
    if spec.kind == "balancer":
        return False
    if not container.computes:
        return container.model != spec.model
    return container.computes != spec.computes


def has_given_up(now: Container, restarts_before: int) -> bool:
    """Whether a container that loads will not come up: the daemon restarted it often enough, and its last life is over.

    While the next life runs, the daemon says exit code 0, and what ended the last one is not known.

    Args:
        now: the container.
        restarts_before: by the daemon, when it was started or adopted.
    """
    return now.status != "running" and now.restarts >= restarts_before + _RESTARTS_WHILE_LOADING


def foreign(container: Container) -> UsageError:
    """A container that somebody else, or another fleet, made stands where one of ours would."""
    if container.folder:
        return UsageError(
            f"a container named {container.name} is there that belongs to the fleet in {container.folder}",
            f"embedfleet down in {container.folder}, or set another `upstream` and `network` here",
        )
    return UsageError(
        f"a container named {container.name} is there that embedfleet did not make",
        f"docker rename {container.name} …, or docker rm -f {container.name}, or set another `upstream`",
    )
