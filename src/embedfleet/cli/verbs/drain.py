"""``embedfleet drain``: takes a replica out of service without losing a request."""

from typing import Any

import click

from embedfleet.cli.flags import FIND_FLEET, fleet_flags, read_sound_settings
from embedfleet.cli.output import say
from embedfleet.cli.replica import order, until_state
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.types import ReplicaState


@click.command("drain")
@click.argument("name")
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="longest wait, in seconds")
@click.option("--force", is_flag=True, help="drain it even if no other replica of its service serves")
@fleet_flags(*FIND_FLEET)
def command(name: str, timeout_s: float, force: bool, **flags: Any) -> None:  # noqa: ANN401
    """Stop sending requests to replica NAME, and wait until it has finished those it has.

    The replica keeps running. It gets no requests until `embedfleet undrain NAME` or the next `up`. nginx does not
    report which requests a replica still has; it lets requests under way finish.
    """
    lock = FleetLock(read_sound_settings(flags).state_dir)
    order(lock, name, "drain?force" if force else "drain")
    say(f"{name} gets no new requests")
    replica = until_state(lock, name, ReplicaState.DRAINED, timeout_s)
    if replica.load is not None:
        say(f"{name} is drained")
    else:
        say(f"{name} is drained: nginx does not list it any more, and lets requests under way finish")
