"""``embedfleet doctor``: finds what would keep a fleet from starting, before anything is started."""

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
from embedfleet.control.preflight.check_result import CheckResult
from embedfleet.control.preflight.doctor import examine
from embedfleet.control.preflight.proposal import propose
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.errors import FleetError

_STYLES = {"ok": "green", "warn": "yellow", "blocked": "red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object on stdout")
@settings_flags
def command(as_json: bool, **flags: Any) -> None:  # noqa: ANN401
    """Check cores, memory, GPUs, Docker, images, models, ports and nginx; exit with 1 if the fleet cannot start."""
    settings = read_settings_for_doctor(flags)
    state = FleetLock(settings.state_dir)
    proposal = propose(settings, sockets=state.run.path)
    try:
        checks = examine(proposal, _own_ports(state))
    finally:
        proposal.survey.close()
    blocked = any(check.state == "blocked" for check in checks)
    if as_json:
        data(json.dumps({"blocked": blocked, "checks": [asdict(check) for check in checks]}))
    else:
        Console(width=None if sys.stdout.isatty() else 200, emoji=False, highlight=False).print(_table(checks))
    sys.exit(1 if blocked else 0)


def _own_ports(state: FleetLock) -> set[int]:
    """Return the ports on which the fleet of this folder listens; none if it does not run or answer."""
    try:
        status = ask_status(state)
    except FleetError:
        return set()
    return {service.port for service in status.services} if status else set()


def _table(checks: list[CheckResult]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for check in checks:
        table.add_row(f"[{_STYLES[check.state]}]{check.state}[/]", check.id, _plain(check.message))
        if check.hint:
            table.add_row("", "", f"→ {_plain(check.hint)}")
    return table


def _plain(text: str) -> str:
    """Escape brackets, which are markup to the console."""
    return text.replace("[", "\\[")
