"""``embedfleet down``: drain and stop a running fleet."""

import time
from typing import Any

import click

from embedfleet.cli.flags import read_sound_settings, settings_flags
from embedfleet.cli.output import say
from embedfleet.cli.query import ask, daemon, say_elsewhere
from embedfleet.control.fleet import remove_folders
from embedfleet.control.remains import remove_all
from embedfleet.control.statefile import StateFile
from embedfleet.errors import FleetError


@click.command("down")
@settings_flags
def command(**flags: Any) -> None:  # noqa: ANN401
    """Let requests under way end, then stop every process and container of the fleet; wait until it is done."""
    settings = read_sound_settings(flags)
    state = StateFile(settings.state_dir)
    address = state.read()
    if address is None:
        docker = daemon(settings)
        removed = remove_all(docker, settings.fleet.stop_grace_s) if docker else []
        if docker:
            remove_folders(settings)
        say_elsewhere(docker)
        say(f"removed {', '.join(removed)}" if removed else f"no fleet runs in {settings.state_dir}")
        return
    ask(state, "POST", "/stop")
    say(f"stopping the fleet (pid {address.pid})")
    deadline = time.monotonic() + settings.fleet.drain_s + settings.fleet.stop_grace_s + 30
    while state.read() is not None:
        if time.monotonic() > deadline:
            raise FleetError(f"the fleet (pid {address.pid}) has not stopped", f"kill {address.pid}")
        time.sleep(0.05)
    say("stopped")
