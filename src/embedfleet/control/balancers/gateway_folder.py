"""Folder that a gateway in a container shares with this machine, for its admin socket and a file of its replicas.

The container's user has no rights on this machine, and must make a socket in the folder. So the folder is open to all,
and the folder above it is open to its owner alone. The file holds the replicas that were sent last, because the
daemon may start the gateway while no supervisor runs.
"""

import logging
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from embedfleet.control.plan.state_folders import GATEWAY_MEMBERS, GATEWAY_SOCKET
from embedfleet.types import Endpoint, Member, url_fault

log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 20  # largest file that is read; 64 replicas take less than 20 KB


class GatewayFolder:
    """The folder of one gateway.

    Args:
        path: Absolute path of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members = path / GATEWAY_MEMBERS

    @property
    def has_socket(self) -> bool:
        """Whether a gateway has made its socket here; a running gateway without one has another folder mounted."""
        try:
            return stat.S_ISSOCK((self.path / GATEWAY_SOCKET).lstat().st_mode)
        except OSError:
            return False

    def prepare(self) -> None:
        """Create the folder with these rights, whatever the umask; a file or link in its place is removed.

        Everybody may write to it, but only the owner may enter the folder above.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.parent.chmod(0o700)
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            log.warning("%s is not a folder, and is replaced by one", self.path)
            self.path.unlink()
        self.path.mkdir(exist_ok=True)
        self.path.chmod(0o777)  # only the owner can enter the folder above

    def open(self) -> int:
        """Open the folder; its descriptor gives the socket a path that is short enough for a Unix socket.

        Raises:
            OSError: The folder does not exist.
        """
        return os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def write(self, members: Sequence[Member]) -> None:
        """Write the replicas for a gateway that starts, atomically.

        The container can write to the folder too, and this process may be root. So a link that the container put in the
        file's place is not followed.
        """
        temporary = self._members.with_suffix(".new")
        _clear(temporary)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW), "wb") as stream:
            os.fchmod(stream.fileno(), 0o644)
            stream.write(orjson.dumps([member.to_json() for member in members]))
        if self._members.is_dir() and not self._members.is_symlink():  # a rename cannot replace a folder by a file
            log.warning("%s is a folder, and is replaced by a file", self._members)
            _clear(self._members)
        temporary.replace(self._members)

    def keep(self, addresses: Mapping[str, str]) -> list[Member]:
        """Remove from the file the replicas that are not planned at their address any more.

        Args:
            addresses: Planned URL of each replica, by name.

        Returns:
            Removed replicas.
        """
        try:
            members = _parse(_read(self._members))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            log.warning("%s cannot be used, and is removed: %s", self._members, error)
            _clear(self._members)
            return []
        others = [member for member in members if addresses.get(member.endpoint.id) != member.endpoint.url]
        self.write([member for member in members if member not in others])
        return others

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def socket_in(folder: int) -> str:
    """Return the path of the socket in a folder, through the folder's open descriptor (proc(5), ``/proc/pid/fd``)."""
    return f"/proc/self/fd/{folder}/{GATEWAY_SOCKET}"


def _read(file: Path) -> bytes:
    """Read a file that the container may have put there, without following a link or waiting for a pipe.

    Raises:
        OSError: The file does not exist, or cannot be read.
        ValueError: It is not a regular file, or is too large.
    """
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
    return content


def _parse(content: bytes) -> list[Member]:
    """Return the replicas in a file that `GatewayFolder.write` wrote.

    Raises:
        ValueError: The content is anything else.
    """
    rows = orjson.loads(content)
    if not isinstance(rows, list):
        raise ValueError("it is not a list")  # noqa: TRY004 - of a file's content
    for row in rows:
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("id", "url")):
            raise ValueError("a row has no id or no url")
        if not row["id"].isprintable() or not row["id"]:
            raise ValueError("the id of a row is not a printable name")
        if fault := url_fault(row["url"]):
            raise ValueError(f"the url of {row['id']} {fault}")
        if not isinstance(row.get("drained", False), bool):
            raise ValueError(f"drained of {row['id']} is neither true nor false")  # noqa: TRY004 - of a file's content
    return [Member(Endpoint(row["id"], row["url"]), row.get("drained")) for row in rows]


def _clear(path: Path) -> None:
    """Remove a file, a folder or a link; the target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
