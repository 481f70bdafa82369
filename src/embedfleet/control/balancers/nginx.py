"""nginx, steered: its configuration is held against the very nginx that is to run it, and only then swapped."""

import asyncio
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from embedfleet.control.docker.client import Docker, ExecResult
from embedfleet.control.plan.nginx_conf import FILES, Site, file_name, render_main, render_site
from embedfleet.control.plan.specs import ContainerSpec
from embedfleet.dialects.routes import path_of
from embedfleet.errors import FleetError, Refused, UpstreamError
from embedfleet.http.client import fetch
from embedfleet.system.kernel_limits import most_open_files
from embedfleet.types import Endpoint

_CANDIDATE = "candidate"
_TEST_LIMIT_S = 30

_SETTLE_S = 5.0  # at most, until a reload has taken effect
_IN_A_ROW = 5  # new connections that must meet the new configuration: old workers still accept for a moment
_ASK_S = 1.0

MakeSite = Callable[[Sequence[str], Sequence[tuple[str, str]]], Site]
"""From the addresses that serve, and those that rest with the reason, to the site."""


class Nginx(Protocol):
    """One nginx: in a container, or on this machine."""

    inside: str
    """The folder of its configuration as it sees it."""

    def check(self, main: str) -> ExecResult:
        """Have it look at a main configuration (``nginx -t -c``), by its path inside."""

    def reload(self) -> None:
        """Let it take its configuration anew, gracefully; nothing if it does not run."""


class ContainerNginx:
    """nginx in a container; before it runs, in a throw-away one of the same image on the same network.

    Args:
        docker: the daemon.
        spec: of the container.
    """

    inside = "/etc/nginx/conf.d"

    def __init__(self, docker: Docker, spec: ContainerSpec) -> None:
        self._docker = docker
        self._spec = spec

    def check(self, main: str) -> ExecResult:
        """See `Nginx`."""
        container = self._docker.find(self._spec.name)
        if container is not None and container.status == "running":
            return self._docker.execute(container.id, ["nginx", "-t", "-q", "-c", main])
        return self._docker.try_out(
            self._spec.image,
            ["-t", "-q", "-c", main],
            entrypoint="nginx",
            mounts=self._spec.mounts,
            network=self._spec.network,
        )

    def reload(self) -> None:
        """See `Nginx`."""
        container = self._docker.find(self._spec.name)
        if container is not None and container.status == "running":
            self._docker.kill(container.id, "SIGHUP")


class LocalNginx:
    """nginx as a process of this machine.

    Args:
        binary: the program.
        folder: of its configuration, where its pid file is as well.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self.inside = str(folder)
        self._binary = binary
        self._folder = folder

    def check(self, main: str) -> ExecResult:
        """See `Nginx`."""
        done = subprocess.run(
            [self._binary, "-t", "-q", "-e", "stderr", "-c", main],
            capture_output=True,
            text=True,
            timeout=_TEST_LIMIT_S,
            check=False,
        )
        return ExecResult(done.returncode, done.stderr)

    def reload(self) -> None:
        """See `Nginx`."""
        try:
            pid = int((self._folder / "nginx.pid").read_text())
            # One that was killed leaves its file, and its pid to any other process.
            if str(self._folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGHUP)
        except (OSError, ValueError):  # it does not run: it will read the new one when it starts
            return


class NginxSteering:
    """See `probed.Steering`.

    Args:
        folder: of the service's configuration, as this process sees it.
        service: its name.
        make_site: what to write.
        nginx: who is to run it.
        addresses: by replica, how nginx reaches it where that is not the URL's host and port.
        url: where this process reaches nginx.
    """

    def __init__(
        self, folder: Path, service: str, *, make_site: MakeSite, nginx: Nginx, addresses: Mapping[str, str], url: str
    ) -> None:
        self._folder = folder
        self._file = file_name(service)
        self._make_site = make_site
        self._nginx = nginx
        self._addresses = addresses
        self._url = url
        self._applied: tuple[str, tuple[str, ...]] | None = None

    @property
    def may_start(self) -> bool:
        """See `probed.Steering`."""
        return self._applied is not None

    async def ask(self, timeout_s: float) -> None:
        """See `probed.Steering`."""
        await fetch(f"{self._url}{path_of('live')}", timeout_s=timeout_s)

    async def apply(self, serving: Sequence[Endpoint], resting: Sequence[tuple[Endpoint, str]]) -> None:
        """See `probed.Steering`; nothing is done if nothing has changed.

        A replica that was started anew may have another address behind its old name, and nginx looks names up only when
        it reads its configuration: so the URLs count as well as the text.
        """
        site = self._site(serving, resting)
        wanted = (render_site(site), tuple(endpoint.url for endpoint in serving))
        if wanted != self._applied:
            generation = hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]
            try:
                await asyncio.to_thread(self._swap, render_site(replace(site, generation=generation)))
            except (OSError, subprocess.SubprocessError) as error:
                raise FleetError(
                    f"nginx cannot be told: {error}", "files, memory or room on the disk ran out"
                ) from error
            self._applied = wanted
            await self._settle(generation)

    async def _settle(self, generation: str) -> None:
        """Wait until nginx works by the new configuration; who is no longer on it may then be stopped."""
        met, deadline = 0, time.monotonic() + _SETTLE_S
        while met < _IN_A_ROW and time.monotonic() < deadline:
            try:
                reply = await fetch(f"{self._url}{path_of('live')}", timeout_s=_ASK_S)
            except Refused:  # it does not run yet: it will start by this one
                return
            except UpstreamError:
                await asyncio.sleep(_SETTLE_S / 100)
                continue
            met = met + 1 if reply.body.decode("utf-8", "replace") == generation else 0
            await asyncio.sleep(0 if met else _SETTLE_S / 100)

    def _site(self, serving: Sequence[Endpoint], resting: Sequence[tuple[Endpoint, str]]) -> Site:
        rows = [(self._address(endpoint), reason or "not heard of yet") for endpoint, reason in resting]
        return self._make_site([self._address(endpoint) for endpoint in serving], rows)

    def _address(self, endpoint: Endpoint) -> str:
        return self._addresses.get(endpoint.id) or urlsplit(endpoint.url).netloc

    def _swap(self, text: str) -> None:
        candidate = self._folder / _CANDIDATE
        candidate.mkdir(parents=True, exist_ok=True)
        (candidate / self._file).write_text(text)
        inside = f"{self._nginx.inside}/{_CANDIDATE}"
        writable = inside if isinstance(self._nginx, LocalNginx) else "/tmp"  # noqa: S108 - of the container
        (candidate / "nginx.conf").write_text(render_main(writable, f"{inside}/{self._file}", test=True))
        result = self._nginx.check(f"{inside}/nginx.conf")
        if result.code != 0:
            raise FleetError(
                f"nginx does not accept its new configuration: {result.output.strip()}", f"see {candidate / self._file}"
            )
        main = self._folder / "nginx.conf"
        if isinstance(self._nginx, LocalNginx):
            files = min(FILES, most_open_files())
            main.write_text(render_main(self._nginx.inside, f"{self._nginx.inside}/{self._file}", files=files))
        else:  # a container's nginx takes every *.conf for a site: not that by which a process before it ran
            main.unlink(missing_ok=True)
        (candidate / self._file).replace(self._folder / self._file)
        self._nginx.reload()
