"""The nginx of a service, in a container or on this machine, which can test a configuration and reload it."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from embedfleet.control.docker.client import Docker, ExecResult
from embedfleet.control.plan.specs import ContainerSpec

_TEST_LIMIT_S = 30


class Nginx(Protocol):
    """The nginx of one service.

    Attributes:
        inside: Folder of its configuration, as nginx sees it.
    """

    inside: str

    def check(self, main: str) -> ExecResult:
        """Test a main configuration (``nginx -t -c``), given by its path as nginx sees it."""

    def reload(self) -> None:
        """Reload the configuration gracefully; do nothing if nginx does not run."""


class ContainerNginx(Nginx):
    """An nginx in a container.

    Before the container runs, a temporary one of the same image on the same network tests the configuration.

    Args:
        docker: Docker daemon.
        spec: Spec of the container.
    """

    inside = "/etc/nginx/conf.d"

    def __init__(self, docker: Docker, spec: ContainerSpec) -> None:
        self._docker = docker
        self._spec = spec

    @override
    def check(self, main: str) -> ExecResult:
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

    @override
    def reload(self) -> None:
        container = self._docker.find(self._spec.name)
        if container is not None and container.status == "running":
            self._docker.kill(container.id, "SIGHUP")


class LocalNginx(Nginx):
    """An nginx that is a process on this machine.

    Args:
        binary: Path of the program.
        folder: Folder of its configuration and its pid file.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self.inside = str(folder)
        self._binary = binary
        self._folder = folder

    @override
    def check(self, main: str) -> ExecResult:
        done = subprocess.run(
            [self._binary, "-t", "-q", "-e", "stderr", "-c", main],
            capture_output=True,
            text=True,
            timeout=_TEST_LIMIT_S,
            check=False,
        )
        return ExecResult(done.returncode, done.stderr)

    @override
    def reload(self) -> None:
        try:
            pid = int((self._folder / "nginx.pid").read_text())
            # An nginx that was killed leaves its pid file, and another process may have its pid by now.
            if str(self._folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGHUP)
        except (OSError, ValueError):  # nginx does not run, and will read the new configuration when it starts
            return
