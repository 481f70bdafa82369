"""Steering of nginx: nginx tests each new configuration before it replaces the present one."""

import asyncio
import hashlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from typing_extensions import override

from embedfleet.control.balancers.nginx import LocalNginx, Nginx
from embedfleet.control.balancers.probed import Steering
from embedfleet.control.plan.nginx_conf import FILES, Site, file_name, render_main, render_site
from embedfleet.dialects.routes import path_of
from embedfleet.errors import FleetError, Refused, UpstreamError
from embedfleet.http.client import fetch
from embedfleet.system.kernel_limits import most_open_files
from embedfleet.types import Endpoint

_CANDIDATE = "candidate"

_SETTLE_S = 5.0  # longest wait for a reload to take effect
_IN_A_ROW = 5  # connections in a row that must meet the new configuration: old workers still accept for a moment
_ASK_S = 1.0

MakeSite = Callable[[Sequence[str], Sequence[tuple[str, str]]], Site]
"""Function that makes a site from the addresses of the serving replicas, and those of the others with the reasons."""


class NginxSteering(Steering):
    """Steering of one nginx.

    Args:
        folder: Folder of the service's configuration, as this process sees it.
        service: Name of the service.
        make_site: Function that makes the site to write.
        nginx: Interface to nginx.
        addresses: Addresses by which nginx reaches replicas, by replica name; the host and port of a replica's URL
            replace a missing one.
        url: URL by which this process reaches nginx.
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
    @override
    def may_start(self) -> bool:
        return self._applied is not None

    @override
    async def ask(self, timeout_s: float) -> None:
        await fetch(f"{self._url}{path_of('live')}", timeout_s=timeout_s)

    @override
    async def apply(self, serving: Sequence[Endpoint], resting: Sequence[tuple[Endpoint, str]]) -> None:
        """Write and load the configuration, if it has changed.

        A replica that was restarted may have another address behind its old name, and nginx resolves names only when it
        reads its configuration. So a changed URL counts as a change even if the text is the same.
        """
        site = self._site(serving, resting)
        wanted = (render_site(site), tuple(endpoint.url for endpoint in serving))
        if wanted != self._applied:
            generation = hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]
            try:
                await asyncio.to_thread(self._swap, render_site(replace(site, generation=generation)))
            except (OSError, subprocess.SubprocessError) as error:
                raise FleetError(
                    f"nginx cannot be reconfigured: {error}",
                    "check the limit of open files, the memory and the room on the disk",
                ) from error
            self._applied = wanted
            await self._settle(generation)

    async def _settle(self, generation: str) -> None:
        """Wait until nginx uses the new configuration; only then may replicas that it no longer lists be stopped."""
        met, deadline = 0, time.monotonic() + _SETTLE_S
        while met < _IN_A_ROW and time.monotonic() < deadline:
            try:
                reply = await fetch(f"{self._url}{path_of('live')}", timeout_s=_ASK_S)
            except Refused:  # nginx does not run yet, and will start with this configuration
                return
            except UpstreamError:
                await asyncio.sleep(_SETTLE_S / 100)
                continue
            met = met + 1 if reply.body.decode("utf-8", "replace") == generation else 0
            await asyncio.sleep(0 if met else _SETTLE_S / 100)

    def _site(self, serving: Sequence[Endpoint], resting: Sequence[tuple[Endpoint, str]]) -> Site:
        rows = [(self._address(endpoint), reason or "not probed yet") for endpoint, reason in resting]
        return self._make_site([self._address(endpoint) for endpoint in serving], rows)

    def _address(self, endpoint: Endpoint) -> str:
        return self._addresses.get(endpoint.id) or urlsplit(endpoint.url).netloc

    def _swap(self, text: str) -> None:
        """Let nginx test a new site; then put it in the place of the present one, and reload.

        Raises:
            FleetError: nginx does not accept it.
        """
        candidate = self._folder / _CANDIDATE
        candidate.mkdir(parents=True, exist_ok=True)
        (candidate / self._file).write_text(text)
        inside = f"{self._nginx.inside}/{_CANDIDATE}"
        writable = inside if isinstance(self._nginx, LocalNginx) else "/tmp"  # noqa: S108 - the container's own
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
        else:  # nginx in a container reads every *.conf as a site: remove the main file of an nginx process
            main.unlink(missing_ok=True)
        (candidate / self._file).replace(self._folder / self._file)
        self._nginx.reload()
