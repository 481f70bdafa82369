"""A Docker daemon of the tests' own, with simulated GPUs and no route out."""

import os
import re
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
    """Return the reason why no daemon can be started here; empty if one can."""
    if os.getuid() != 0:
        return "a Docker daemon needs root"
    missing = [name for name in ("dockerd", "containerd", "runc", "iptables", "cc") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (apt-get install docker.io iptables gcc libc6-dev)" if missing else ""


_ATTEMPTS = 3
_PLENTY_BYTES = 12_000_000_000  # three workers take a gigabyte each


class Daemon:
    """A dockerd that this test run starts and ends.

    A stub stands in for the hook of the NVIDIA toolkit, so the real daemon accepts real device requests. The daemon
    does not masquerade, so nothing leaves its networks. It does not change the machine's packet filter: several daemons
    run at once, and one that starts would empty the chains of the others.
    """

    def __init__(self) -> None:
        # Not in pytest's folder: a socket's path must be short, and pytest must not remove what is mounted.
        self.folder = Path(tempfile.mkdtemp(prefix="efd-", dir="/var/tmp"))
        self.socket = self.folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "bin").mkdir()
        hook = self.folder / "bin" / "nvidia-container-runtime-hook"
        hook.write_text(_HOOK)
        hook.chmod(0o755)
        self._mount_data()

    def _mount_data(self) -> None:
        """Keep the images in memory if there is plenty of it.

        They have so many files that a busy disk takes long to remove them after the last test.
        """
        data = self.folder / "data"
        data.mkdir()
        available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        if available and int(available[1]) * 1024 > _PLENTY_BYTES:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3g", "tmpfs", str(data)], check=False)

    def start(self) -> None:
        """Start the daemon and wait until it answers; starts of several daemons at once may disturb each other."""
        for _ in range(_ATTEMPTS - 1):
            if self._start():
                return
        assert self._start(), (self.folder / "dockerd.log").read_text()[-2000:]

    def _start(self) -> bool:
        """Try to start the daemon; return whether it answers."""
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
        """Stop the daemon and its containers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(LIMIT_S)

    def remove(self) -> None:
        """Remove the daemon's data."""
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def build_nvml(folder: Path) -> Path:
    """Build a libnvidia-ml.so.1 that reports the GPUs of the variable ``FAKE_GPUS``; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent / "fake_nvml.c"
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return folder
