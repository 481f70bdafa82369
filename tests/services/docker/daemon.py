"""A Docker daemon of our own: its data, its socket and its end; with GPUs that are made up and no way out."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

LIMIT_S = 60
_HOOK = "#!/bin/sh\nexit 0\n"


def why_not() -> str:
    """Why no daemon can be started here; nothing if one can."""
    if os.getuid() != 0:
        return "a Docker daemon takes root"
    missing = [name for name in ("dockerd", "containerd", "runc", "iptables", "cc") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (apt-get install docker.io iptables gcc libc6-dev)" if missing else ""


_ATTEMPTS = 3


class Daemon:
    """A dockerd that this test run started and will end.

    The hook that the NVIDIA toolkit would put on the path is a stub, so the real daemon takes real device requests; it
    masks no addresses, so nothing gets out of its networks. It leaves the machine's packet filter alone: several
    daemons run at once, and one that starts empties the chains of the others.
    """

    def __init__(self) -> None:
        # Not in pytest's folder: a socket's path must be short, and nobody else must tidy up what is mounted.
        self.folder = Path(tempfile.mkdtemp(prefix="efd-", dir="/var/tmp"))
        self.socket = self.folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "bin").mkdir()
        hook = self.folder / "bin" / "nvidia-container-runtime-hook"
        hook.write_text(_HOOK)
        hook.chmod(0o755)

    def start(self) -> None:
        """Start it and wait until it answers; it may stumble over what another one does at the same moment."""
        for _ in range(_ATTEMPTS - 1):
            if self._start():
                return
        assert self._start(), (self.folder / "dockerd.log").read_text()[-2000:]

    def _start(self) -> bool:
        """Whether it has started."""
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
                    *("--pidfile", str(self.folder / "pid"), "--host", self.host),
                    *("--bridge", "none", "--ip-masq=false", "--ip-forward=false", "--iptables=false"),
                ],
                env=os.environ | {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + LIMIT_S
        while not self._answers():
            if self._process.poll() is not None:
                return False
            assert time.monotonic() < deadline, "dockerd does not answer"
        return True

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self.socket))
                sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in sock.recv(100)
            except OSError:
                return False

    def stop(self) -> None:
        """Let it end, containers and all."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(LIMIT_S)

    def remove(self) -> None:
        """Remove what it kept: a daemon's data is large."""
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def build_nvml(folder: Path) -> Path:
    """A folder with a libnvidia-ml.so.1 that tells of the GPUs in ``FAKE_GPUS``."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent / "fake_nvml.c"
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return folder
