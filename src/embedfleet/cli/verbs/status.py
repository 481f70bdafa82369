"""``embedfleet status``: services and replicas."""

import asyncio
import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from embedfleet.cli.flags import read_sound_settings, settings_flags
from embedfleet.cli.output import data, say
from embedfleet.cli.query import ask, daemon, say_elsewhere
from embedfleet.control.balancers.gateway import states_in
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.docker.leftovers import remains_status
from embedfleet.control.plan.plan import gateway_folder
from embedfleet.control.run.api import is_whole
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.errors import FleetSilent

DEGRADED, NOT_RUNNING = 1, 3


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout")
@settings_flags
def command(as_json: bool, **flags: Any) -> None:  # noqa: ANN401
    """Show every service and replica.

    Exit with 0 if all serve that nobody has drained, 1 if some do not or the fleet cannot be asked, 3 if none runs.
    """
    settings = read_sound_settings(flags)
    try:
        status = ask(FleetLock(settings.state_dir), "GET", "/status")
    except FleetSilent as silent:
        if as_json:
            own = {"running": True, "starting": silent.is_starting, "pid": silent.pid or None}
            data(json.dumps(own | {"error": silent.message, "services": []}))
        raise
    running = status is not None
    if status is None and (docker := daemon(settings)) is not None:
        services = asyncio.run(
            remains_status(docker, lambda service: states_in(GatewayFolder(gateway_folder(settings, service))))
        )
        say_elsewhere(docker)
        if services:
            status = {"pid": None, "pss_bytes": 0, "services": services}
            say("the containers of a fleet are there, but nobody looks after them: `embedfleet up` takes them over")
    if status is None:
        if as_json:
            data(json.dumps({"running": False, "services": []}))
        say(f"no fleet runs in {settings.state_dir}")
        sys.exit(NOT_RUNNING)
    if as_json:
        data(json.dumps({"running": running} | status))
    else:
        # Off a terminal nothing is cut to fit one.
        show(status, Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False, highlight=False))
    sys.exit(0 if all(map(is_whole, status["services"])) else DEGRADED)


def show(status: dict[str, Any], console: Console) -> None:
    """A table, and below it why somebody does not serve: a sentence in a column would crush the others."""
    console.print(_table(status))
    rows = [row for service in status["services"] for row in (service["gateway"], *service["replicas"])]
    told = [f"{row['id']}: {text}" for row in rows if (text := _trouble(row))]
    if told:
        console.print()
    for line in told:
        console.print(line, soft_wrap=True)


def _trouble(row: dict[str, Any]) -> str:
    """What is wrong with a child now, and how it ended the last time."""
    ended = f"ended the last time with {row['last_end']}" if row.get("last_end") else ""
    return "; ".join(filter(None, (row.get("reason"), ended)))


def _table(status: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("service", "replica", "state", "address", "pid", "restarts", "under way", "sent", "memory"):
        table.add_column(column, no_wrap=True)
    for service in status["services"]:
        gateway = service["gateway"]
        own = (gateway["phase"], f":{service['port']}", *_process(gateway))
        name = gateway["id"].removeprefix(f"{service['name']}-")
        table.add_row(service["name"], name, *own, "", "", _megabytes(gateway))
        for row in service["replicas"]:
            address = row["url"].removeprefix("http://")
            load = (str(row.get("requests", "")), str(row.get("sent", "")))
            table.add_row("", row["id"], row["state"], address, *_process(row), *load, _megabytes(row))
    return table


def _process(row: dict[str, Any]) -> tuple[str, str]:
    return str(row["pid"] or ""), str(row["restarts"])


def _megabytes(row: dict[str, Any]) -> str:
    return f"{row['pss_bytes'] / 1e6:.0f} MB" if row["pss_bytes"] else ""
