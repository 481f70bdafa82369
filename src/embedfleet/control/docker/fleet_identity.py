"""The identity of a fleet, which proves what it may take over or remove.

Each fleet keeps a random id in its state folder, and labels what it makes with that id, the folder and the machine's
name. The id alone proves nothing, since a state folder can be copied. The folder alone proves nothing either, since
one daemon may serve several machines that have the same paths.
"""

import logging
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedfleet.config.settings import Settings
from embedfleet.errors import UsageError

log = logging.getLogger(__name__)

LABEL_FLEET = "io.embedfleet.fleet"
LABEL_STATE = "io.embedfleet.state"
LABEL_MACHINE = "io.embedfleet.machine"
LABEL_FOLDER = "io.embedfleet.model_folder"

_FILE = "fleet-id"
_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST = 100  # number of bytes that are read of the file


@dataclass(frozen=True, slots=True)
class FleetIdentity:
    """A fleet's identity, as the labels of its containers state it.

    Attributes:
        id: Random id, kept in the state folder; empty if the folder has none yet.
        state: Path of the state folder.
        folder: Folder of fleet.toml, which names the fleet to people.
        machine: Name of the machine.
    """

    id: str = ""
    state: str = ""
    folder: str = ""
    machine: str = ""

    @classmethod
    def read(cls, settings: Settings) -> "FleetIdentity":
        """Return the identity of the fleet with these settings; nothing is written."""
        return cls._with_id(_known(settings.state_dir), settings)

    @classmethod
    def create(cls, settings: Settings) -> "FleetIdentity":
        """Return the identity of the fleet with these settings; a fleet without an id gets one.

        Raises:
            UsageError: The id cannot be written.
        """
        return cls._with_id(_create(settings.state_dir), settings)

    @classmethod
    def _with_id(cls, fleet: str, settings: Settings) -> "FleetIdentity":
        return cls(fleet, str(settings.state_dir), str(settings.root), os.uname().nodename)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of everything that the fleet makes."""
        return {
            LABEL_FLEET: self.id,
            LABEL_STATE: self.state,
            LABEL_FOLDER: self.folder,
            LABEL_MACHINE: self.machine,
        }

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Whether a container or network with these labels belongs to this fleet.

        One that an earlier release made has no id: the folder of fleet.toml decides, as it did in that release.
        """
        if LABEL_FLEET not in labels:
            return labels.get(LABEL_FOLDER, "") == self.folder
        state = labels.get(LABEL_STATE, "")
        if labels[LABEL_FLEET] == self.id:
            return state == self.state or _is_same_folder(state, self.state) or _has_left(Path(state), self.id)
        # Another id of the same folder: the former state folder was lost, together with its id.
        return state == self.state and labels.get(LABEL_MACHINE, "") == self.machine


def _is_same_folder(state: str, own: str) -> bool:
    """Whether two paths lead to one state folder, for example through a link."""
    try:
        return Path(state).samefile(own)
    except OSError:
        return False


def _has_left(state: Path, fleet: str) -> bool:
    """Whether a fleet's state folder is no longer at this path; if it is, our folder is a copy of it."""
    try:
        return _read(state) != fleet
    except FileNotFoundError:
        return True
    except OSError:  # it may belong to another user, which proves nothing
        return False


def _known(state: Path) -> str:
    """Return the id in a state folder; empty if there is none, or it cannot be read."""
    try:
        return _read(state)
    except OSError:
        return ""


def _read(state: Path) -> str:
    """Return the id in a state folder; empty if the file does not hold one.

    Raises:
        OSError: The file does not exist, or cannot be read.
    """
    descriptor = os.open(state / _FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        text = os.read(descriptor, _LONGEST).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    return text if _ID.fullmatch(text) else ""


def _create(state: Path) -> str:
    """Return the id in a state folder, after writing a new one if there is none; the first of two writers wins."""
    if found := _known(state):
        return found
    file, fresh = state / _FILE, state / f"{_FILE}.{os.getpid()}"
    try:
        state.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(file):
            log.warning("%s holds no id; this fleet gets a new one", file)
            file.unlink()
        fresh.write_text(secrets.token_hex(16))
        try:
            os.link(fresh, file)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return _read(state)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", "set state_dir, or remove that file") from error
