"""What a contestant is."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.fake_tei.processes import ANY_BATCH


@dataclass(frozen=True, slots=True)
class Site:
    """Where a contestant works.

    Attributes:
        port: that it listens on.
        replicas: their ports.
        folder: for its files.
    """

    port: int
    replicas: tuple[int, ...]
    folder: Path

    @property
    def config(self) -> Path:
        """The configuration, for those that have a file."""
        return self.folder / "config"

    @property
    def admin(self) -> Path:
        """The admin socket, for those that have one."""
        return self.folder / "admin.sock"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A front door.

    Attributes:
        name: short.
        program: that must be installed.
        package: what installs it.
        config: text of its file; empty for none.
        command: starts it in the foreground.
        check: looks at the file and says whether it is right; empty for none.
        client_batch: the most texts of one call that its replicas accept.
        reload_signal: makes it read its file again; 0 for none.
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
        """Whether it can be started."""
        return found(self.program) is not None


def found(program: str) -> str | None:
    """Path of a program, of this environment or of the system."""
    own = Path(sys.executable).parent / program
    return str(own) if own.exists() else shutil.which(program)


def path_of(program: str) -> str:
    """Path of a program, its name if it is not there."""
    return found(program) or program
