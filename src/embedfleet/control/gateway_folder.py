"""The folder that a gateway in a container shares with this machine: its admin socket, and who its replicas are.

The container's user is nobody here, and has to make a socket there: so the folder is open to all, and the one above it
to its owner alone. What the gateway was told last lies in a file, for the daemon may start it when none of us runs.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from embedfleet.control.plan import GATEWAY_MEMBERS, GATEWAY_SOCKET


class GatewayFolder:
    """See the module.

    Args:
        path: of the folder, absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members = path / GATEWAY_MEMBERS

    @property
    def has_socket(self) -> bool:
        """Whether a gateway has made its socket here: one that has not, though it runs, has got another folder."""
        return (self.path / GATEWAY_SOCKET).is_socket()

    def prepare(self) -> None:
        """Make it as the module says, whatever the umask."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.parent.chmod(0o700)
        self.path.chmod(0o777)  # only who may enter the folder above gets here

    def open(self) -> int:
        """A descriptor of it: through that, its socket has a short path, which a Unix socket must have.

        Raises:
            OSError: it is not there.
        """
        return os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Say who the replicas are, to a gateway that starts; whole or not at all.

        The container may write here too, and we may be root: what it put in the file's place, a link maybe, is not
        followed.
        """
        temporary = self._members.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW), "wb") as stream:
            os.fchmod(stream.fileno(), 0o644)
            stream.write(orjson.dumps(rows))
        temporary.replace(self._members)

    def keep(self, addresses: Mapping[str, str]) -> list[dict[str, Any]]:
        """Of what was written, leave only replicas that are still planned, each by its name at its address.

        Returns:
            The others.
        """
        try:
            rows = orjson.loads(self._members.read_bytes())
            others = [row for row in rows if addresses.get(row["id"]) != row["url"]]
        except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is of no use
            self._members.unlink(missing_ok=True)
            return []
        self.write([row for row in rows if row not in others])
        return others

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def socket_in(folder: int) -> str:
    """The path of the socket in the folder of an open descriptor, for this process (proc(5), ``/proc/pid/fd``)."""
    return f"/proc/self/fd/{folder}/{GATEWAY_SOCKET}"
