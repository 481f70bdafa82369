"""Where a running fleet is: a lock that the kernel drops with the process, and a file that says how to reach it."""

import fcntl
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from embedfleet.errors import UsageError

# Whoever asks whether a fleet runs holds the lock for a moment as well.
_TRIES = 10
_RETRY_S = 0.05
_SOCKETS = "embedfleet-"
# A Unix socket's path may have 107 bytes: 20 of them are for the folder's name, 37 for a service's socket in it.
_LONGEST_TEMPORARY = 50


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a running fleet.

    Attributes:
        pid: of the supervisor.
        socket: of its admin API.
    """

    pid: int
    socket: str


def make_socket_folder() -> Path:
    """A new private folder whose path is short enough for sockets; that of the state folder may not be."""
    usual = tempfile.gettempdir()
    short = usual if len(os.fsencode(usual)) <= _LONGEST_TEMPORARY else "/tmp"  # noqa: S108 - mkdtemp is safe there
    return Path(tempfile.mkdtemp(prefix=_SOCKETS, dir=short))


class StateFile:
    """The state of the fleet of one folder.

    Args:
        folder: the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "fleet.json"
        self._lock = folder / "lock"
        self._held: int | None = None

    def acquire(self) -> None:
        """Hold the lock until `release` or the end of the process.

        Raises:
            UsageError: another process holds it, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._held = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be written: {error.strerror}", "set state_dir") from error
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_RETRY_S)
            else:
                self._clear()
                return
        os.close(self._held)
        self._held = None
        address = self.read()
        who = f" (pid {address.pid})" if address else ""
        raise UsageError(
            f"a fleet runs already in {self.folder}{who}", "see `embedfleet status`, or stop it with `embedfleet down`"
        )

    def write(self, address: Address) -> None:
        """Say how to reach us, whole or not at all."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(address)))
        temporary.replace(self._file)

    def read(self) -> Address | None:
        """How to reach the fleet that holds the lock; None if there is none, whatever a dead one left behind."""
        return self._last() if self._is_locked() else None

    def release(self) -> None:
        """Let go, if we hold it."""
        if self._held is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._held)
            self._held = None

    def _last(self) -> Address | None:
        """What the last fleet wrote, if it did not live to remove it."""
        try:
            return Address(**json.loads(self._file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _clear(self) -> None:
        """Remove the file and the sockets of a fleet that was killed: it must not pass for ours."""
        last = self._last()
        if last is not None and Path(last.socket).parent.name.startswith(_SOCKETS):
            shutil.rmtree(Path(last.socket).parent, ignore_errors=True)
        self._file.unlink(missing_ok=True)

    def _is_locked(self) -> bool:
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
