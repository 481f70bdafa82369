"""``embedfleet reload``: start the gateways of a running fleet anew, without losing a request."""

from typing import Any

import click

from embedfleet.cli.flags import given_flags, read_sound_settings, settings_flags
from embedfleet.cli.output import say
from embedfleet.cli.query import ask
from embedfleet.cli.replica import end_without_fleet
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.errors import UsageError

_WHERE = ("--config=", "--state-dir=")  # flags that say which fleet


@click.command("reload")
@click.option("--timeout", "timeout_s", default=300.0, show_default=True, help="longest wait, in seconds")
@settings_flags
def command(timeout_s: float, **flags: Any) -> None:  # noqa: ANN401
    """Start every gateway that is a process anew: by the code and the settings as they are now.

    A gateway serves until its successor does by as many replicas. Clients that are connected are served to their next
    answer, and the port never closes. Settings are read from where `up` read them, with its flags. Those of gateways
    and drain_s are taken on; if others have changed, nothing is done.
    """
    _refuse_settings(flags)
    state = FleetLock(read_sound_settings(flags).state_dir)
    answer = ask(state, "POST", "/reload", timeout_s)
    if answer is None:
        end_without_fleet(state)
    for row in answer["replaced"]:
        place = f" in the place of {row['before']}" if row["before"] else ""
        say(f"{row['service']}: process {row['pid']} serves{place}, after {row['seconds']} s")


def _refuse_settings(flags: dict[str, Any]) -> None:
    """Refuse flags that would have to change the fleet's settings: it reads them itself.

    Raises:
        UsageError: there are some.
    """
    others = [flag for flag in given_flags(flags) if not flag.startswith(_WHERE)]
    if others:
        raise UsageError(
            f"reload takes no settings by flag, and got {' '.join(others)}",
            "write them into fleet.toml; the flags that `up` was given hold as they were",
        )
