"""A container that the fleet has started or taken over, and watches.

The daemon restarts a container that dies. The watcher notices the restart and the new address.
"""

import asyncio
import logging
import signal
from collections.abc import Callable

from typing_extensions import override

from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.container import Container
from embedfleet.control.drivers.base import Running
from embedfleet.control.host.activity import activity_of
from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.dialects.routes import path_of
from embedfleet.errors import DockerError, UpstreamError
from embedfleet.http.client import fetch

log = logging.getLogger(__name__)

_POLL_S = 1.0
_LOADING_POLL_S = 0.2
_ANSWER_S = 5.0
_TAIL = 20
_NEVER_STARTED = 125  # exit code of docker run for a container that never started
_RESTARTS_WHILE_LOADING = 2  # by the daemon; further ones would not help


class RunningContainer(Running):
    """A run of a child that is a container.

    Args:
        docker: Docker daemon.
        container: Container as it was when it was started or taken over.
        network: Network on which it must stay; empty for none.
        said: Function that takes its name and its last lines once it has ended.
    """

    def __init__(
        self, docker: Docker, container: Container, network: str, said: Callable[[str, list[str]], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = container.pid
        self.pause_reason = ""
        self.ready: asyncio.Future[str] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._docker = docker
        self._container = container
        self._network = network
        self._said = said
        self._watcher: asyncio.Task[None] | None = None
        self._remover: asyncio.Task[None] | None = None
        self._killer: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Start to poll the daemon for its state."""
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    @override
    async def stop(self, grace_s: float) -> None:
        """Stop and remove it; one that still loads gets no time, because process 1 ignores SIGTERM without a handler.

        It counts as ended only once it is removed, because a fleet reports its end when all children have ended.
        """
        self._stop_watching()
        code = 0
        try:
            await asyncio.to_thread(self._docker.stop, self._container.id, grace_s if self.ready.done() else 0)
            now = await asyncio.to_thread(self._docker.find, self._container.name)
            code = now.exit_code if now is not None else 0
        except DockerError as error:
            log.warning("%s cannot be stopped: %s", self._container.name, error)
        await self._remove(code)

    @override
    def kill(self) -> None:
        """Remove it while it runs."""
        self._remover = asyncio.get_running_loop().create_task(self._remove(-signal.SIGKILL))

    @override
    def activity(self) -> Activity | None:
        """Return the work of its processes so far; None if none of them runs on this machine."""
        return activity_of(self.pid, container=self._container.id) if self.pid else None

    @override
    def kill_hung(self) -> None:
        """Kill its processes; the container stays, with its log."""
        if self._killer is None or self._killer.done():
            self._killer = asyncio.get_running_loop().create_task(self._kill())

    async def _kill(self) -> None:
        try:
            await asyncio.to_thread(self._docker.kill, self._container.id)
        except DockerError as error:
            log.warning("%s cannot be killed: %s", self._container.name, error)

    @override
    def abandon(self) -> None:
        """Leave it running, and stop watching it."""
        self._stop_watching()
        if not self.ended.done():
            self.ended.set_result(0)

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def _remove(self, code: int) -> None:
        self._stop_watching()
        try:
            await asyncio.to_thread(self._docker.remove, self._container.id)
        except DockerError as error:  # the end of the fleet removes it, or reports that it remains
            log.warning("%s cannot be removed: %s", self._container.name, error)
        finally:
            if not self.ended.done():
                self.ended.set_result(code)

    async def _watch(self) -> None:
        """Poll until it has ended; once it was ready, a restart by the daemon counts as its end."""
        said = ""
        while not self.ended.done():
            try:
                await self._poll()
                said = ""
            except DockerError as error:  # the daemon restarts, or is too busy: the container may still run
                if error.message != said:  # log it once, however long it lasts
                    log.warning("%s: %s", self._container.name, error.message)
                said = error.message
            except Exception:  # without this, the container would keep its last state for ever
                log.exception("%s cannot be watched", self._container.name)
            await asyncio.sleep(_POLL_S if self.ready.done() else _LOADING_POLL_S)

    async def _poll(self) -> None:
        now = await asyncio.to_thread(self._docker.find, self._container.name)
        is_paused = now is not None and now.status == "paused"
        self.pause_reason = f"the container is paused; docker unpause {self._container.name}" if is_paused else ""
        if now is None or now.id != self._container.id:
            await self._end(now, _NEVER_STARTED)
        elif now.status in {"exited", "dead"}:
            await self._end(now, now.exit_code or 1)
        elif now.started != self._container.started and self.ready.done():
            await self._end(now, 1)
        elif self.ready.done() and self._network and self._network not in now.networks:
            log.warning("%s has left the network %s, and is connected again", now.name, self._network)
            await self._end(now, 1)
        elif self.ready.done() and now.url and now.url != self._container.url:
            log.warning("%s has a new address: %s", now.name, now.url)
            await self._end(now, 1)
        elif not self.ready.done():
            await self._check_ready(now)

    async def _check_ready(self, now: Container) -> None:
        """Mark it as ready once it gives any HTTP answer; TEI listens only after its model is loaded and warm."""
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


def has_given_up(now: Container, restarts_before: int) -> bool:
    """Whether a loading container will never serve: the daemon has restarted it often enough, and it does not run.

    While it runs again, the daemon reports exit code 0, so the cause of its last end is unknown.

    Args:
        now: Current state of the container.
        restarts_before: Number of restarts by the daemon before the fleet started it or took it over.
    """
    return now.status != "running" and now.restarts >= restarts_before + _RESTARTS_WHILE_LOADING
