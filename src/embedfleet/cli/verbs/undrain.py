"""``embedfleet undrain``: puts a drained replica back into service."""

from typing import Any

import click

from embedfleet.cli.flags import FIND_FLEET, fleet_flags, read_sound_settings
from embedfleet.cli.output import say
from embedfleet.cli.replica import order, until_state
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.types import ReplicaState


@click.command("undrain")
@click.argument("name")
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="longest wait, in seconds")
@fleet_flags(*FIND_FLEET)
def command(name: str, timeout_s: float, **flags: Any) -> None:  # noqa: ANN401
    """Send requests to replica NAME again once it has inferred, and wait until it serves."""
    lock = FleetLock(read_sound_settings(flags).state_dir)
    order(lock, name, "undrain")
    say(f"{name} gets requests once it has inferred")
    until_state(lock, name, ReplicaState.ACTIVE, timeout_s)
    say(f"{name} is active")
