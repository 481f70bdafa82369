"""``embedfleet doctor``: what is in the way, before anything is started."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from embedfleet.cli.flags import read_settings_for_doctor, settings_flags
from embedfleet.cli.output import data
from embedfleet.cli.query import ask_status
from embedfleet.control.preflight.check import Check
from embedfleet.control.preflight.doctor import examine
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.errors import FleetError

_STYLES = {"ok": "green", "warn": "yellow", "blocked": "red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout")
@settings_flags
def command(as_json: bool, **flags: Any) -> None:  # noqa: ANN401
    """Look at cores, memory, GPUs, Docker, images, models, ports and nginx; exit with 1 if something is in the way."""
    settings = read_settings_for_doctor(flags)
    checks = examine(settings, _own_ports(FleetLock(settings.state_dir)))
    blocked = any(check.state == "blocked" for check in checks)
    if as_json:
        data(json.dumps({"blocked": blocked, "checks": [asdict(check) for check in checks]}))
    else:
        Console(width=None if sys.stdout.isatty() else 200, emoji=False, highlight=False).print(_table(checks))
    sys.exit(1 if blocked else 0)


def _own_ports(state: FleetLock) -> set[int]:
    """The ports that the fleet of this folder listens on, if it runs and can be asked."""
    try:
        status = ask_status(state)
    except FleetError:
        return set()
    return {service.port for service in status.services} if status else set()


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for check in checks:
        table.add_row(f"[{_STYLES[check.state]}]{check.state}[/]", check.id, _plain(check.message))
        if check.hint:
            table.add_row("", "", f"→ {_plain(check.hint)}")
    return table


def _plain(text: str) -> str:
    """Brackets are the console's own marks."""
    return text.replace("[", "\\[")
