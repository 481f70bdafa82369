"""``embedfleet down``: drain and stop a running fleet."""

import time
from typing import Any

import click

from embedfleet.cli.flags import read_sound_settings, settings_flags
from embedfleet.cli.output import say
from embedfleet.cli.query import ask, daemon, say_elsewhere
from embedfleet.config.settings import Settings
from embedfleet.control.docker.leftovers import remove_all
from embedfleet.control.run.fleet import remove_folders
from embedfleet.control.run.fleet_lock import FleetAddress, FleetLock
from embedfleet.errors import FleetError, FleetSilent

_MORE_S = 30.0
_POLL_S = 0.05


@click.command("down")
@settings_flags
def command(**flags: Any) -> None:  # noqa: ANN401
    """Let requests under way end, then stop every process and container of the fleet; wait until it is done."""
    settings = read_sound_settings(flags)
    state = FleetLock(settings.state_dir)
    address = state.read()
    if address is not None:
        is_asked = _ask(state, address)
        say(f"stopping the fleet (pid {address.pid or 'unknown'})")
        _until_gone(state, address, settings.fleet.drain_s + settings.fleet.stop_grace_s + _MORE_S)
        if is_asked:  # then it has removed all that it had
            say("stopped")
            return
    if state.read() is None:  # else systemd, say, has started another
        _remove_remains(settings, state, is_stopped=address is not None)


def _ask(state: FleetLock, address: FleetAddress) -> bool:
    """Tell the fleet to stop, by a signal if it cannot be asked; whether it could be."""
    try:
        ask(state, "POST", "/stop")
    except FleetSilent as silent:
        if not silent.is_starting:
            say(f"{silent.message}: it gets SIGTERM")
        state.terminate(address)
        return False
    return True


def _until_gone(state: FleetLock, address: FleetAddress, timeout_s: float) -> None:
    """Wait for the end of this fleet: systemd may start another at once.

    Raises:
        FleetError: it does not end in time.
    """
    deadline = time.monotonic() + timeout_s
    while (now := state.read()) is not None and (now.pid, now.identity) == (address.pid, address.identity):
        if time.monotonic() > deadline:
            raise FleetError(
                f"the fleet (pid {address.pid}) has not stopped",
                f"kill -9 {address.pid} ends it with all of its processes",
            )
        time.sleep(_POLL_S)


def _remove_remains(settings: Settings, state: FleetLock, *, is_stopped: bool) -> None:
    """What no fleet looks after: containers, and what a killed one has left in its folder."""
    docker = daemon(settings)
    removed = remove_all(docker, settings.fleet.stop_grace_s) if docker else []
    if docker:
        remove_folders(settings)
    say_elsewhere(docker)
    state.clear()
    if removed:
        say(f"removed {', '.join(removed)}")
    elif not is_stopped:
        say(f"no fleet runs in {settings.state_dir}")
    if is_stopped:
        say("stopped")
