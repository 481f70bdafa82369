"""``embedfleet down``: drains and stops a running fleet."""

import time
from typing import Any

import click

from embedfleet.cli.flags import FIND_FLEET, fleet_flags, read_sound_settings
from embedfleet.cli.output import say
from embedfleet.cli.query import ask, daemon, say_elsewhere
from embedfleet.config.settings import Settings
from embedfleet.control.docker.leftovers import remove_all
from embedfleet.control.run.fleet_folders import remove_folders
from embedfleet.control.run.fleet_lock import FleetAddress, FleetLock
from embedfleet.errors import FleetError, FleetSilent

_MORE_S = 30.0  # longest wait beyond drain_s and stop_grace_s
_POLL_S = 0.05


@click.command("down")
@fleet_flags(*FIND_FLEET, "drain_s", "stop_grace_s")
def command(**flags: Any) -> None:  # noqa: ANN401
    """Let requests under way finish, then stop every process and container of the fleet, and wait for their end."""
    settings = read_sound_settings(flags)
    lock = FleetLock(settings.state_dir)
    address = lock.read()
    if address is not None:
        was_asked = _stop(lock, address)
        say(f"stopping the fleet (pid {address.pid or 'unknown'})")
        _until_gone(lock, address, settings.fleet.drain_s + settings.fleet.stop_grace_s + _MORE_S)
        if was_asked:  # then the fleet has removed everything itself
            say("stopped")
            return
    if lock.read() is None:  # else something, such as systemd, has started another fleet
        _remove_leftovers(settings, lock, is_stopped=address is not None)


def _stop(lock: FleetLock, address: FleetAddress) -> bool:
    """Stop the fleet, by a signal if its API does not answer; return whether the API answered."""
    try:
        ask(lock, "POST", "/stop")
    except FleetSilent as silent:
        if not silent.is_starting:
            say(f"{silent.message}; sending it SIGTERM")
        lock.terminate(address)
        return False
    return True


def _until_gone(lock: FleetLock, address: FleetAddress, timeout_s: float) -> None:
    """Wait for the end of this fleet; another one, which systemd may start at once, does not count.

    Raises:
        FleetError: The fleet does not end in time.
    """
    deadline = time.monotonic() + timeout_s
    while (now := lock.read()) is not None and (now.pid, now.identity) == (address.pid, address.identity):
        if time.monotonic() > deadline:
            raise FleetError(
                f"the fleet (pid {address.pid}) has not stopped",
                f"kill -9 {address.pid} ends it with all of its processes",
            )
        time.sleep(_POLL_S)


def _remove_leftovers(settings: Settings, lock: FleetLock, *, is_stopped: bool) -> None:
    """Remove the containers and files that a fleet left when it was killed."""
    docker = daemon(settings)
    removed = remove_all(docker, settings.fleet.stop_grace_s) if docker else []
    if docker:
        remove_folders(settings)
    say_elsewhere(docker)
    lock.clear()
    if removed:
        say(f"removed {', '.join(removed)}")
    elif not is_stopped:
        say(f"no fleet runs in {settings.state_dir}")
    if is_stopped:
        say("stopped")
