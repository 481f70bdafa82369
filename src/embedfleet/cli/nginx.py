"""``embedfleet nginx``: one nginx of this machine in the foreground, on the configuration that `up` has made."""

import os
import socket
import time
from pathlib import Path

import click

from embedfleet.cli.child import end_with, port_teller
from embedfleet.control.programs import find_nginx
from embedfleet.errors import UsageError

_LISTEN_S = 30.0
_POLL_S = 0.02


@click.command("nginx")
@click.option("--folder", required=True, metavar="PATH", help="where its nginx.conf is")
@click.option("--host", default="127.0.0.1", help="where it listens")
@click.option("--port", default=0, help="where it listens")
@click.option("--ready-fd", default=0, hidden=True)
@click.option("--parent-pid", default=0, hidden=True)
def command(folder: str, host: str, port: int, ready_fd: int, parent_pid: int) -> None:
    """Become nginx, as the balancer of one service."""
    end_with(parent_pid, gently=True)
    binary = find_nginx()
    conf = Path(folder) / "nginx.conf"
    if not conf.is_file():
        raise UsageError(f"there is no {conf}", "it is made by `embedfleet up` with balancer = nginx")
    _tell_once_it_listens(host, port, ready_fd)
    os.execv(binary, [binary, "-e", "stderr", "-c", str(conf)])  # noqa: S606 - this process becomes it


def _tell_once_it_listens(host: str, port: int, ready_fd: int) -> None:
    """Leave a child behind that connects until it is let in, says so, and ends; nginx itself has no word for it."""
    if not ready_fd or os.fork():
        if ready_fd:
            os.close(ready_fd)
        return
    nginx = os.getppid()
    deadline = time.monotonic() + _LISTEN_S
    while time.monotonic() < deadline and os.getppid() == nginx:
        try:
            socket.create_connection((host, port), _LISTEN_S).close()
        except OSError:
            time.sleep(_POLL_S)
        else:
            port_teller(ready_fd)(port)
            break
    os._exit(0)
