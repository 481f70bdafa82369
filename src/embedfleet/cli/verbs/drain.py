"""``embedfleet drain``: take a replica out of service without losing a request."""

from typing import Any

import click

from embedfleet.cli.flags import read_sound_settings, settings_flags
from embedfleet.cli.output import say
from embedfleet.cli.replica import change, until_state
from embedfleet.control.run.fleet_lock import FleetLock


@click.command("drain")
@click.argument("name")
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="longest wait, in seconds")
@click.option("--force", is_flag=True, help="even if no other replica of its service serves")
@settings_flags
def command(name: str, timeout_s: float, force: bool, **flags: Any) -> None:  # noqa: ANN401
    """Send replica NAME nothing more, and wait until it has finished what it has.

    It goes on running, and gets nothing until `embedfleet undrain NAME`, or the next `up`. Of a replica behind nginx it
    is not known what it still has: nginx lets requests that are under way end.
    """
    state = FleetLock(read_sound_settings(flags).state_dir)
    change(state, name, "drain?force" if force else "drain")
    say(f"{name} gets no new requests")
    row = until_state(state, name, "drained", timeout_s)
    if "requests" in row:
        say(f"{name} is drained")
    else:
        say(f"{name} is drained: nginx does not list it any more, and lets requests that are under way end")
