"""``embedfleet logs``: shows the logs of the fleet's processes and containers."""

import time
from pathlib import Path
from typing import Any

import click

from embedfleet.cli.flags import FIND_FLEET, fleet_flags, read_sound_settings
from embedfleet.cli.output import data, say
from embedfleet.cli.query import daemon
from embedfleet.control.host.disk import run_as_hint
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.run.fleet_folders import log_files_of
from embedfleet.errors import UsageError


@click.command("logs")
@click.argument("name", required=False)
@click.option("--follow", "-f", is_flag=True, help="print new lines until Ctrl-C")
@click.option(
    "--lines", "-n", type=click.IntRange(min=0), default=20, show_default=True, help="lines of each process; 0 for none"
)
@fleet_flags(*FIND_FLEET)
def command(name: str | None, follow: bool, lines: int, **flags: Any) -> None:  # noqa: ANN401
    """Show the last lines of every process and container, or of those whose name begins with NAME (e.g. reranker-0)."""
    settings = read_sound_settings(flags)
    log_files = log_files_of(settings)
    docker = daemon(settings)
    containers = {container.name: container.id for container in docker.ours()} if docker else {}
    # The daemon has the log of a container that exists. A file has the last lines of one that has ended.
    known = [*(name for name in _names(log_files, settings.state_dir) if name not in containers), *containers]
    names = [each for each in known if each.startswith(name or "")]
    if not names:
        listed = ", ".join(known) or "none"
        raise UsageError(f"there are no logs of {name or 'any process'}", f"there are logs of: {listed}")
    for each in names:
        inside = docker is not None and each in containers
        said: list[str] = []
        if lines:
            said = docker.tail(containers[each], lines) if docker and inside else _tail(log_files, each, lines)
        for line in said:
            data(f"{each}: {line}")
    if follow:
        if any(each in containers for each in names):
            say("containers are not followed; use docker logs --follow NAME")
        names = [each for each in names if each not in containers]
        _follow(log_files, names)


def _names(log_files: LogFiles, folder: Path) -> list[str]:
    try:
        return log_files.names()
    except PermissionError as error:
        raise UsageError(
            f"{log_files.folder} cannot be read: permission denied", run_as_hint(folder.stat().st_uid)
        ) from error


def _tail(log_files: LogFiles, name: str, lines: int) -> list[str]:
    try:
        return log_files.tail(name, lines)
    except PermissionError as error:
        path = log_files.path(name)
        raise UsageError(f"{path} cannot be read: permission denied", run_as_hint(path.stat().st_uid)) from error


def _follow(log_files: LogFiles, names: list[str]) -> None:
    places = {name: log_files.size(name) for name in names}
    try:
        while True:
            time.sleep(0.2)
            for name in names:
                places[name] = _show_new(log_files, name, places[name])
    except KeyboardInterrupt:
        return


def _show_new(log_files: LogFiles, name: str, place: int) -> int:
    """Print the whole lines that were added after the byte offset ``place``; return the new offset."""
    size = log_files.size(name)
    if size < place:  # the file was trimmed or removed
        place = 0
    if not size:
        return 0
    with log_files.path(name).open("rb") as stream:
        stream.seek(place)
        added, newline, _ = stream.read().rpartition(b"\n")
    for line in added.decode("utf-8", "replace").splitlines():
        data(f"{name}: {line}")
    return place + len(added) + len(newline)
