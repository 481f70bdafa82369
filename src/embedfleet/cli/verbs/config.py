"""``embedfleet config``: shows the settings in force and the origin of each."""

import json
import sys
from dataclasses import fields
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from embedfleet.cli.flags import read_settings, settings_flags
from embedfleet.cli.output import data, say
from embedfleet.config.settings import Settings


@click.group("config", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object on stdout")
@settings_flags
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, **flags: Any) -> None:  # noqa: ANN401
    """Show every setting, its value and where it came from."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = flags
        return
    rows = list_settings(read_settings(flags))
    if as_json:
        data(json.dumps({key: {"value": value, "origin": origin} for key, value, origin in rows}))
        return
    table = Table("setting", "value", "from", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for key, value, origin in rows:
        table.add_row(key, json.dumps(value), origin, style=None if origin == "default" else "bold")
    Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False, highlight=False).print(table)


@command.command("check")
@settings_flags
@click.pass_obj
def check(before: dict[str, Any], /, **flags: Any) -> None:  # noqa: ANN401
    """Check the settings: print every fault, and exit with 2 if there is one."""
    given = {name: value for name, value in flags.items() if value}
    settings = read_settings(before | given | {"pairs": (*before["pairs"], *flags["pairs"])})
    say(f"the settings are valid: {', '.join(service.name for service in settings.services)}")


def list_settings(settings: Settings) -> list[tuple[str, Any, str]]:
    """Return the dotted key as in fleet.toml, the value and the origin of every setting."""
    rows = [
        (f"fleet.{item.name}", getattr(settings.fleet, item.name), settings.origins[f"fleet.{item.name}"])
        for item in fields(settings.fleet)
    ]
    for service in settings.services:
        for record in (service.options, service.engine, service.gateway):
            for item in fields(record):
                key = f"{service.name}.{item.name}"
                rows.append((f"services.{key}", getattr(record, item.name), settings.origins[key]))
    return rows
