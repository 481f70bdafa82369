"""The folder from which the processes of a fleet import embedfleet: compiled code, or the source."""

import os
from collections.abc import Mapping
from pathlib import Path

_VARIABLE = "PYTHONPATH"
_COMPILED = ".compiled"  # beginning of the names of folders with compiled code, in the folder of run.sh


class CodePath:
    """The environment of the processes of a fleet, and with it the code that they import.

    Args:
        environment: Environment of the fleet.
        installation: Folder of run.sh; None if it did not install this.
        may_be_compiled: Whether the settings allow compiled code.

    Attributes:
        may_be_compiled: Whether the settings allow compiled code.
        compiled: Folder of compiled code that the next process imports from; None for the code that is installed.
        reason: Reason why the next process is interpreted, if it is.
    """

    def __init__(
        self, environment: Mapping[str, str], installation: Path | None, *, may_be_compiled: bool = True
    ) -> None:
        entries = [entry for entry in environment.get(_VARIABLE, "").split(os.pathsep) if entry]
        own = [entry for entry in entries if _is_compiled(Path(entry), installation)]
        self._others = [entry for entry in entries if entry not in own]
        self._environment = {name: value for name, value in environment.items() if name != _VARIABLE}
        self.may_be_compiled = may_be_compiled
        self.compiled = Path(own[0]) if own and may_be_compiled else None
        self.reason = "" if may_be_compiled else "compile is off"

    def environment(self) -> dict[str, str]:
        """Return the environment of the next process."""
        if self.compiled is None:
            return self.plain()
        entries = [str(self.compiled), *self._others]
        return self._environment | {_VARIABLE: os.pathsep.join(entries)}

    def plain(self) -> dict[str, str]:
        """Return the environment of a process that imports the source."""
        return self._environment | ({_VARIABLE: os.pathsep.join(self._others)} if self._others else {})


def _is_compiled(entry: Path, installation: Path | None) -> bool:
    return installation is not None and entry.parent == installation and entry.name.startswith(_COMPILED)
