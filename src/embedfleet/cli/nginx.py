"""``embedfleet nginx``: one nginx of this machine in the foreground, on the configuration that `up` has made."""

import os
from pathlib import Path

import click

from embedfleet.cli.child import end_with, port_teller
from embedfleet.control.programs import find_nginx
from embedfleet.errors import UsageError


@click.command("nginx")
@click.option("--folder", required=True, metavar="PATH", help="where its nginx.conf is")
@click.option("--port", default=0, help="where it listens")
@click.option("--ready-fd", default=0, hidden=True)
@click.option("--parent-pid", default=0, hidden=True)
def command(folder: str, port: int, ready_fd: int, parent_pid: int) -> None:
    """Become nginx, as the balancer of one service."""
    end_with(parent_pid, gently=True)
    binary = find_nginx()
    conf = Path(folder) / "nginx.conf"
    if not conf.is_file():
        raise UsageError(f"there is no {conf}", "it is made by `embedfleet up` with balancer = nginx")
    port_teller(ready_fd)(port)
    os.execv(binary, [binary, "-e", "stderr", "-c", str(conf)])  # noqa: S606 - this process becomes it
