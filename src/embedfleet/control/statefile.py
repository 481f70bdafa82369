"""Where a running fleet is: a lock that the kernel drops with the process, and a file that says how to reach it."""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from embedfleet.errors import UsageError

# Whoever asks whether a fleet runs holds the lock for a moment as well.
_TRIES = 10
_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a running fleet.

    Attributes:
        pid: of the supervisor.
        socket: of its admin API.
    """

    pid: int
    socket: str


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
        if not self._is_locked():
            return None
        try:
            return Address(**json.loads(self._file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def release(self) -> None:
        """Let go."""
        self._file.unlink(missing_ok=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

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
