"""The error of a child that failed at its start, read from its log."""

from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.run.child import Child
from embedfleet.errors import UsageError

_LINES = 30  # number of last lines that are read of the log


def exit_error(child: Child, log_files: LogFiles) -> UsageError:
    """Return the last ``error:`` line of a child's log, with its hint."""
    message, hint = f"{child.name} cannot start", f"see {log_files.path(child.name)}"
    for line in log_files.tail(child.name, _LINES):
        if line.startswith("error: "):
            message = f"{child.name}: {line.removeprefix('error: ')}"
        elif line.startswith("hint: "):
            hint = line.removeprefix("hint: ")
    if child.spec.kind == "balancer" and not child.has_held_socket:  # all else was checked, so its port is taken
        hint = f"stop what listens there, or set another services.{child.spec.service}.port"
    return UsageError(message, hint)
