"""The description of a contestant."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.fake_tei.processes import ANY_BATCH


@dataclass(frozen=True, slots=True)
class Site:
    """The surroundings of a contestant.

    Attributes:
        port: Port on which it listens.
        replicas: Ports of the replicas.
        folder: Folder for its files.
    """

    port: int
    replicas: tuple[int, ...]
    folder: Path

    @property
    def config(self) -> Path:
        """Configuration file of a contestant that has one."""
        return self.folder / "config"

    @property
    def admin(self) -> Path:
        """Admin socket of a contestant that has one."""
        return self.folder / "admin.sock"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A front door.

    Attributes:
        name: Short name.
        program: Program that must be installed.
        package: Command that installs it.
        config: Function that gives the text of its configuration file; empty for no file.
        command: Function that gives the command which runs it in the foreground.
        check: Function that gives the command which checks the file; empty for none.
        client_batch: Maximum number of texts in a call that its replicas accept.
        reload_signal: Signal that makes it read its file again; 0 for none.
    """

    name: str
    program: str
    package: str
    config: Callable[[Site], str]
    command: Callable[[Site], Sequence[str]]
    check: Callable[[Site], Sequence[str]]
    client_batch: int = ANY_BATCH
    reload_signal: int = 0

    @property
    def installed(self) -> bool:
        """Whether its program is installed."""
        return found(self.program) is not None


def found(program: str) -> str | None:
    """Path of a program, in this environment or in the system; None if it is not installed."""
    own = Path(sys.executable).parent / program
    return str(own) if own.exists() else shutil.which(program)


def path_of(program: str) -> str:
    """Path of a program, or its name if it is not installed."""
    return found(program) or program
