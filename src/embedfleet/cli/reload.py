"""``embedfleet reload``: start the gateways of a running fleet anew, without losing a request."""

from typing import Any

import click

from embedfleet.cli.flags import read_settings, settings_flags
from embedfleet.cli.output import say
from embedfleet.cli.query import ask
from embedfleet.cli.replica import end_without_fleet
from embedfleet.control.statefile import StateFile


@click.command("reload")
@click.option("--timeout", "timeout_s", default=300.0, show_default=True, help="longest wait, in seconds")
@settings_flags
def command(timeout_s: float, **flags: Any) -> None:  # noqa: ANN401
    """Start every gateway that is a process anew: by the code and the settings as they are now.

    A gateway serves until its successor does by as many replicas. Clients that are connected are served to their next
    answer, and the port never closes. Settings are read from where `up` read them, with its flags. Those of gateways
    and drain_s are taken on; if others have changed, nothing is done.
    """
    state = StateFile(read_settings(flags).state_dir)
    answer = ask(state, "POST", "/reload", timeout_s)
    if answer is None:
        end_without_fleet(state)
    for row in answer["replaced"]:
        say(f"{row['service']}: process {row['pid']} serves in the place of {row['before']}, after {row['seconds']} s")
