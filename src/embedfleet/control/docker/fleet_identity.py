"""Whose a container is: a fleet takes over and removes only what it can prove is its own.

Each fleet keeps a random id in its state folder, and labels what it makes with that id, the folder and the machine's
name. The id alone is no proof, for a state folder may be copied; the folder alone is none, for a daemon may serve
several machines that have the same paths.
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
_LONGEST = 100  # bytes that are read of the file


@dataclass(frozen=True, slots=True)
class FleetIdentity:
    """A fleet, as its labels tell it.

    Attributes:
        id: random, and kept in the state folder; empty if that has none yet.
        state: the state folder.
        folder: that of fleet.toml, by which people know the fleet.
        machine: name of the host.
    """

    id: str = ""
    state: str = ""
    folder: str = ""
    machine: str = ""

    @classmethod
    def of(cls, settings: Settings, *, create: bool = False) -> "FleetIdentity":
        """The fleet of these settings.

        Args:
            settings: in force.
            create: whether to give the fleet an id if it has none.

        Raises:
            UsageError: the id cannot be written.
        """
        state = settings.state_dir
        found = _create(state) if create else _known(state)
        return cls(found, str(state), str(settings.root), os.uname().nodename)

    @property
    def labels(self) -> dict[str, str]:
        """Of what it makes."""
        return {
            LABEL_FLEET: self.id,
            LABEL_STATE: self.state,
            LABEL_FOLDER: self.folder,
            LABEL_MACHINE: self.machine,
        }

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Whether something with these labels is this fleet's.

        That of a former version has no id: the folder of fleet.toml decides, as it did then.
        """
        if LABEL_FLEET not in labels:
            return labels.get(LABEL_FOLDER, "") == self.folder
        state = labels.get(LABEL_STATE, "")
        if labels[LABEL_FLEET] == self.id:
            return state == self.state or _is_one(state, self.state) or _has_left(Path(state), self.id)
        # The id was lost with the state folder that stood where ours stands.
        return state == self.state and labels.get(LABEL_MACHINE, "") == self.machine


def _is_one(state: str, own: str) -> bool:
    """Whether two paths lead to one state folder, as by a link."""
    try:
        return Path(state).samefile(own)
    except OSError:
        return False


def _has_left(state: Path, fleet: str) -> bool:
    """Whether a fleet's state folder was moved away from here: if it is still here, ours is a copy."""
    try:
        return _read(state) != fleet
    except FileNotFoundError:
        return True
    except OSError:  # another user's, maybe: nothing is proven
        return False


def _known(state: Path) -> str:
    try:
        return _read(state)
    except OSError:
        return ""


def _read(state: Path) -> str:
    """The id in a state folder; empty if the file makes no sense.

    Raises:
        OSError: there is none, or it cannot be read.
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
    """The id in a state folder, made if there is none; of two that make one at a time, one counts."""
    if found := _known(state):
        return found
    file, fresh = state / _FILE, state / f"{_FILE}.{os.getpid()}"
    try:
        state.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(file):
            log.warning("%s makes no sense: this fleet gets a new id", file)
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
        raise UsageError(
            f"{file} cannot be written: {error.strerror}", "set state_dir, or remove what is there"
        ) from error
