"""``embedfleet service``: installs and removes the systemd unit that starts the fleet at boot."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import click

from embedfleet.cli.environment import lasting_command
from embedfleet.cli.flags import given_flags, read_settings, settings_flags
from embedfleet.cli.output import data, say
from embedfleet.config.environment import CONFIG
from embedfleet.control.host.nvml import read_driver
from embedfleet.control.host.systemd import FOLDER, NAME, render_unit
from embedfleet.control.preflight.survey import survey_gpus
from embedfleet.errors import FleetError, UsageError

_WAIT_S = 300
_KEPT = ("EMBEDFLEET_", "DOCKER_HOST")  # beginnings of the variables whose values the unit keeps
_POLL_S = 1.0


@click.group("service")
def command() -> None:
    """Start the fleet at boot with systemd."""


@command.command("install", short_help="Write and enable a systemd unit that runs `up` at boot.")
@click.option("--unit-dir", default=str(FOLDER), show_default=True, help="folder of systemd's units")
@click.option("--dry-run", is_flag=True, help="print the unit and change nothing")
@settings_flags
def install(unit_dir: str, dry_run: bool, **flags: Any) -> None:  # noqa: ANN401
    """Write and enable a systemd unit that waits for the GPUs and then runs `up` in this folder."""
    settings = read_settings(flags)
    gpus = survey_gpus(settings).machine.gpus
    text = render_unit(
        program=lasting_command(),
        folder=settings.root,
        # The variable that names the settings file becomes a flag: its path is relative to this folder.
        arguments=given_flags(flags | {"file": flags["file"] or os.environ.get(CONFIG)}),
        environment={n: v for n, v in os.environ.items() if n.startswith(_KEPT) and n != CONFIG},
        uuids=tuple(gpu.uuid for gpu in gpus),
        wait_s=_WAIT_S,
    )
    if dry_run:
        data(text.rstrip("\n"))
        return
    unit = Path(unit_dir) / NAME
    try:
        unit.write_text(text)
    except OSError as error:
        raise UsageError(f"{unit} cannot be written: {error.strerror}", "run this as root (sudo)") from error
    say(f"wrote {unit}")
    if not _has_systemd():
        say(f"systemd does not run here: once it does, enable the unit with `systemctl enable {NAME}`")
        return
    _systemctl("daemon-reload")
    _systemctl("enable", NAME)
    say(f"the fleet starts at the next boot; to start it now: systemctl start {NAME.removesuffix('.service')}")


@command.command("uninstall")
@click.option("--unit-dir", default=str(FOLDER), show_default=True, help="folder of the unit")
def uninstall(unit_dir: str) -> None:
    """Disable and remove the unit; a running fleet keeps running."""
    unit = Path(unit_dir) / NAME
    if not os.path.lexists(unit):
        say(f"there is no {unit}")
        return
    if _has_systemd():
        _systemctl("disable", NAME)
    try:
        unit.unlink()
    except OSError as error:
        raise UsageError(f"{unit} cannot be removed: {error.strerror}", "run this as root (sudo)") from error
    if _has_systemd():
        _systemctl("daemon-reload")
    say(f"removed {unit}")


@command.command("wait", hidden=True)
@click.option("--timeout-s", default=float(_WAIT_S), help="longest wait, in seconds")
@click.option("--uuid", "uuids", multiple=True, help="UUID of a GPU; may be repeated")
def wait(timeout_s: float, uuids: tuple[str, ...]) -> None:
    """Wait until the NVIDIA driver shows these GPUs."""
    deadline = time.monotonic() + timeout_s
    while missing := set(uuids) - _seen():
        if time.monotonic() > deadline:
            raise FleetError(
                f"after {timeout_s:g} s the driver does not show {', '.join(sorted(missing))}",
                "check nvidia-smi; after a change of GPUs, run `embedfleet service install` again",
            )
        time.sleep(_POLL_S)


def _seen() -> set[str]:
    """Return the UUIDs of the GPUs that the driver shows now; empty while it does not answer."""
    try:
        driver = read_driver()
    except UsageError:
        return set()
    return {gpu.uuid for gpu in driver.gpus} if driver else set()


def _has_systemd() -> bool:
    """Return whether systemd runs this machine."""
    return shutil.which("systemctl") is not None and Path("/run/systemd/system").is_dir()


def _systemctl(*arguments: str) -> None:
    """Run systemctl.

    Raises:
        FleetError: systemctl failed.
    """
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode != 0:
        raise FleetError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}", "see journalctl -xe")
