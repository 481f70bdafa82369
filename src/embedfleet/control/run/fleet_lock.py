"""Lock that lets only one fleet run per state folder, and the address by which that fleet is found.

The kernel releases the lock when the process ends. Both the lock file, from the first moment on, and ``fleet.json``
name the holder, so a fleet is found even if one of them is removed or overwritten. A running fleet restores the files.
"""

import fcntl
import json
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from embedfleet.control.host.disk import hint_for, reason_of, run_as_hint
from embedfleet.control.host.process_identity import identity_of, lock_holder
from embedfleet.control.run.run_folder import RunFolder
from embedfleet.errors import FleetError, FleetSilent, UsageError

# A process that checks whether a fleet runs also holds the lock for a moment.
_TRIES = 10
_RETRY_S = 0.05
_SOCKET = "fleet.sock"
_MOST_BYTES = 65_536  # largest part of the lock file or fleet.json that is read


@dataclass(frozen=True, slots=True)
class FleetAddress:
    """Address of a running fleet.

    Attributes:
        pid: Process id of the supervisor; 0 if unknown.
        socket: Path of the admin API's socket; empty while the fleet starts.
        identity: Identity of the process, from `process_identity`; empty for a fleet of an older version.
    """

    pid: int
    socket: str = ""
    identity: str = ""


class FleetLock:
    """Lock of the fleet in one state folder.

    Args:
        folder: State folder.

    Attributes:
        run: Folder of the files that the fleet needs while it runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = RunFolder(folder / "run")
        self._file = folder / "fleet.json"
        self._lock = folder / "lock"
        self._held: int | None = None
        self._made_folder = False
        self._turn = threading.Lock()  # `mend` runs in a thread
        self._address = FleetAddress(os.getpid(), "", identity_of(os.getpid()))

    @property
    def socket(self) -> str:
        """Path where the admin API of the fleet that holds the lock listens."""
        return self.run.socket(_SOCKET)

    def acquire(self) -> None:
        """Take the lock until `release` or the end of the process, and record the holder.

        Raises:
            UsageError: Another process holds it, or the folder cannot be written.
        """
        self._made_folder = not self.folder.exists()
        try:
            self._held = self._take()
            if self._held is not None:
                self._prepare(self._held)
        except OSError as error:
            self.release()
            raise self._unwritable(error) from error
        except BaseException:
            self.release()
            raise
        if self._held is None:
            raise self._refusal()

    def write(self) -> None:
        """Publish the address of the fleet's admin API.

        Raises:
            UsageError: The folder cannot be written.
        """
        self._address = FleetAddress(self._address.pid, self.socket, self._address.identity)
        try:
            self.mend()
        except OSError as error:
            raise self._unwritable(error) from error

    def mend(self) -> list[Path]:
        """Restore the files that were removed or overwritten since the lock was taken.

        Returns:
            Paths of the restored files.

        Raises:
            OSError: A file cannot be restored, or another process holds the lock by now.
        """
        mended = []
        with self._turn:
            if self._held is None:
                return []
            if not _is_at(self._held, self._lock):
                self._held = self._take_again(self._held)
            if _read(self._lock) != self._address:
                self._note(self._held)
                mended.append(self._lock)
            if self._address.socket and _read(self._file) != self._address:
                temporary = self._file.with_suffix(".new")
                temporary.write_text(json.dumps(asdict(self._address)))
                temporary.replace(self._file)
                mended.append(self._file)
        return mended

    def read(self) -> FleetAddress | None:
        """Return the address of the fleet in this folder; None if none runs, even if a dead one left its files.

        Raises:
            FleetSilent: This user may not read the files.
        """
        noted, said = _read(self._lock), _read(self._file)
        if self._is_locked():
            return self._holder(noted, said)
        return said if said is not None and _is_alive(said) else None

    def release(self) -> None:
        """Release the lock if this process holds it, and remove the fleet's files."""
        with self._turn:
            if self._held is None:
                return
            self.run.remove()
            for file in (self._file, self._file.with_suffix(".new")):
                with suppress(OSError):
                    file.unlink(missing_ok=True)
            with suppress(OSError):
                if _is_at(self._held, self._lock):
                    self._lock.unlink()
                if self._made_folder:
                    self.folder.rmdir()  # fails if anything else is in it
            os.close(self._held)
            self._held = None

    def clear(self) -> None:
        """Remove the files of a fleet that was killed, if no fleet runs and this user may do so."""
        if self.folder.is_dir():
            with suppress(UsageError):
                self.acquire()
                self.release()

    def terminate(self, address: FleetAddress) -> None:
        """Send SIGTERM to a fleet's process, but only if the pid is certainly the fleet's.

        Raises:
            FleetError: The pid is not certain, or this user may not send the signal.
        """
        elsewhere = FleetError(
            f"the fleet in {self.folder} (pid {address.pid or 'unknown'}) is a process that cannot be seen from here",
            "stop it on the machine, or in the container, where it was started",
        )
        if not address.pid:
            raise elsewhere
        try:
            process = os.pidfd_open(address.pid)  # refers to this process even if the pid is reused
        except ProcessLookupError:
            if self.read() is not None:
                raise elsewhere from None
            return  # the fleet has just ended
        try:
            if not self._is_certain(address):
                raise elsewhere
            signal.pidfd_send_signal(process, signal.SIGTERM)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise FleetError(
                f"the fleet in {self.folder} (pid {address.pid}) cannot be stopped: permission denied",
                run_as_hint(self.owner()),
            ) from error
        finally:
            os.close(process)

    def owner(self) -> int:
        """Return the id of the user who owns the fleet; -1 if unknown."""
        for path in (self._lock, self.folder):
            with suppress(OSError):
                return path.stat().st_uid
        return -1

    def _take(self) -> int | None:
        """Take the lock; return the descriptor of its file, or None if another process holds the lock."""
        for _ in range(_TRIES):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                time.sleep(_RETRY_S)
                continue
            except OSError:
                os.close(descriptor)
                raise
            if _is_at(descriptor, self._lock):  # else its last holder has just removed the file
                return descriptor
            os.close(descriptor)
        return None

    def _take_again(self, former: int) -> int:
        """Take the lock again after its file was removed, and close the former descriptor."""
        taken = self._take()
        if taken is None:
            raise OSError(f"{self._lock} was removed, and another fleet holds the new one")
        os.close(former)
        return taken

    def _prepare(self, held: int) -> None:
        """Remove the files of a fleet that was killed, so that they are not mistaken for this fleet's."""
        last = _read(self._file)
        if last is not None and last.identity != self._address.identity and _is_alive(last):
            os.close(held)  # that fleet still runs, and restores its lock file, which was removed
            self._held = None
            return
        self.run.clear(last.socket if last else "")
        self._file.unlink(missing_ok=True)
        self._note(held)
        self.run.make()

    def _note(self, held: int) -> None:
        """Write this process's address into the lock file."""
        data = json.dumps(asdict(self._address)).encode()
        os.pwrite(held, data, 0)
        os.ftruncate(held, len(data))

    def _holder(self, noted: FleetAddress | None, said: FleetAddress | None) -> FleetAddress:
        """Return the holder of the lock: by the lock file, else by ``fleet.json``, else by the kernel's list of locks.

        Args:
            noted: Address in the lock file.
            said: Address in ``fleet.json``.
        """
        found = next((each for each in (noted, said) if each is not None and _is_alive(each)), None)
        if found is None:
            pid = 0
            with suppress(OSError):
                pid = lock_holder(self._lock.stat())
            told = [each for each in (noted, said) if each is not None]
            elsewhere = next((each for each in told if not pid or each.pid == pid), None)
            found = elsewhere or FleetAddress(pid, "", identity_of(pid) if pid else "")
        usual = self.folder / "run" / _SOCKET
        if found is not noted and not found.socket and usual.exists():
            return FleetAddress(found.pid, str(usual), found.identity)
        return found

    def _is_certain(self, address: FleetAddress) -> bool:
        """Whether a pid is the fleet's: its identity matches, or the kernel says that it holds the lock."""
        with suppress(OSError):
            return _is_alive(address) or lock_holder(self._lock.stat()) == address.pid
        return _is_alive(address)

    def _unwritable(self, error: OSError) -> UsageError:
        reason = reason_of(error, self.folder)
        return UsageError(f"{self.folder} cannot be written: {reason}", hint_for(error, self.owner()))

    def _refusal(self) -> UsageError:
        address = self.read()
        who = f" (pid {address.pid})" if address and address.pid else ""
        return UsageError(
            f"a fleet runs already in {self.folder}{who}",
            "see `embedfleet status`, or stop it with `embedfleet down`",
        )

    def _is_locked(self) -> bool:
        try:
            descriptor = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError as error:
            raise FleetSilent(
                f"cannot see whether a fleet runs in {self.folder}: permission denied", run_as_hint(self.owner())
            ) from error
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # this file system has no locks, so no fleet can run here
            return False
        finally:
            os.close(descriptor)
        return False


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        there = path.stat()
    except OSError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


def _is_alive(address: FleetAddress) -> bool:
    return bool(address.identity) and identity_of(address.pid) == address.identity


def _read(path: Path) -> FleetAddress | None:
    """Read an address from a file; None if the file is missing, unreadable or not an address."""
    try:
        with path.open("rb") as stream:
            said = json.loads(stream.read(_MOST_BYTES))
        pid, socket, identity = said["pid"], said["socket"], said.get("identity", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    is_sound = type(pid) is int and pid > 0 and isinstance(socket, str) and isinstance(identity, str)
    return FleetAddress(pid, socket, identity) if is_sound else None
