"""``embedfleet status``: shows services and replicas."""

import asyncio
import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from embedfleet.cli.flags import FIND_FLEET, fleet_flags, read_sound_settings
from embedfleet.cli.output import data, say
from embedfleet.cli.query import ask_status, daemon, say_elsewhere
from embedfleet.config.settings import Settings
from embedfleet.control.balancers.contained_gateway import reports_in
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.docker.leftovers import leftovers_status
from embedfleet.control.plan.state_folders import gateway_folder
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.control.status import FleetStatus, ProcessStatus, ReplicaStatus, ServiceStatus
from embedfleet.errors import FleetSilent

DEGRADED, NOT_RUNNING = 1, 3
_COLUMNS = ("service", "replica", "state", "address", "pid", "restarts", "under way", "sent", "memory")


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object on stdout")
@fleet_flags(*FIND_FLEET)
def command(as_json: bool, **flags: Any) -> None:  # noqa: ANN401
    """Show every service and replica.

    Exit with 0 if every balancer answers, every replica that is not drained serves, and every service has one that
    serves; with 1 if not, or if the fleet cannot be asked; and with 3 if no fleet runs and none has left containers.
    """
    settings = read_sound_settings(flags)
    try:
        status = ask_status(FleetLock(settings.state_dir))
    except FleetSilent as silent:
        if as_json:
            own = {"running": True, "starting": silent.is_starting, "pid": silent.pid or None}
            data(json.dumps(own | {"error": silent.message, "services": []}))
        raise
    is_running = status is not None
    if status is None:
        status = _leftover_status(settings)
    if status is None:
        if as_json:
            data(json.dumps({"running": False, "services": []}))
        say(f"no fleet runs in {settings.state_dir}\n\nhint: ask in the folder of `up`, or name its --state-dir")
        sys.exit(NOT_RUNNING)
    if as_json:
        data(json.dumps({"running": is_running} | status.to_json()))
    else:
        # Without a terminal, the table is as wide as its rows.
        show(status, Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False, highlight=False))
    sys.exit(0 if status.is_whole else DEGRADED)


def _leftover_status(settings: Settings) -> FleetStatus | None:
    """Return the status of the containers that a fleet left; None if there are none."""
    docker = daemon(settings)
    if docker is None:
        return None
    services = asyncio.run(
        leftovers_status(docker, lambda service: reports_in(GatewayFolder(gateway_folder(settings, service))))
    )
    say_elsewhere(docker)
    if not services:
        return None
    say("these containers outlived their fleet: `embedfleet up` takes them over")
    return FleetStatus(None, None, 0, services)


def show(status: FleetStatus, console: Console) -> None:
    """Print a table, and the faults and why gateways are interpreted below it.

    A sentence in a column would squeeze the others.
    """
    console.print(_table(status))
    faults = [line for service in status.services for line in _faults(service)]
    faults += [status.code.text] if status.code is not None and status.code.text else []
    if faults:
        console.print()
    for line in faults:
        console.print(line, soft_wrap=True)


def _faults(service: ServiceStatus) -> list[str]:
    """Describe the faults of a service's children: why each does not serve, and its last end."""
    rows = [(service.gateway.process, service.gateway.reason or "")]
    rows += [(replica.process, replica.reason) for replica in service.replicas]
    return [f"{process.id}: {text}" for process, reason in rows if (text := _fault(process, reason))]


def _fault(process: ProcessStatus, reason: str) -> str:
    ended = f"last end: {process.last_end}" if process.last_end else ""
    return "; ".join(filter(None, (reason, ended)))


def _table(status: FleetStatus) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True)
    for service in status.services:
        process = service.gateway.process
        name = process.id.removeprefix(f"{service.name}-")
        state = f"{process.phase}, {service.gateway.code}" if service.gateway.code else process.phase
        own = (state, f":{service.port}", *_process(process))
        table.add_row(service.name, name, *own, "", "", _megabytes(process))
        for replica in service.replicas:
            table.add_row("", *_replica(replica))
    return table


def _replica(replica: ReplicaStatus) -> tuple[str, ...]:
    load = ("", "") if replica.load is None else (str(replica.load.requests), str(replica.load.sent))
    address = replica.url.removeprefix("http://")
    return replica.id, replica.state, address, *_process(replica.process), *load, _megabytes(replica.process)


def _process(process: ProcessStatus) -> tuple[str, str]:
    return str(process.pid or ""), str(process.restarts)


def _megabytes(process: ProcessStatus) -> str:
    return f"{process.pss_bytes / 1e6:.0f} MB" if process.pss_bytes else ""
