"""``embedfleet nginx``: runs this machine's nginx in the foreground, with the configuration that `up` has made."""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import click

from embedfleet.cli.child import adopt_orphans, end_with, port_reporter
from embedfleet.control.host.process_table import end_children, listens
from embedfleet.control.host.programs import find_nginx
from embedfleet.errors import UsageError

_LISTEN_S = 30.0
_POLL_S = 0.02


@click.command("nginx")
@click.option("--folder", required=True, metavar="PATH", help="folder with nginx.conf, which `embedfleet up` has made")
@click.option("--host", default="127.0.0.1", help="address on which nginx listens")
@click.option("--port", default=0, help="port on which nginx listens")
@click.option("--ready-fd", default=0, hidden=True)
@click.option("--parent-pid", default=0, hidden=True)
def command(folder: str, host: str, port: int, ready_fd: int, parent_pid: int) -> None:
    """Run nginx as the balancer of one service. SIGTERM lets requests under way finish; a second SIGTERM does not."""
    end_with(parent_pid)
    binary = find_nginx()
    conf = Path(folder) / "nginx.conf"
    if not conf.is_file():
        raise UsageError(f"there is no {conf}", "`embedfleet up` with balancer = nginx makes it")
    adopt_orphans()
    nginx = subprocess.Popen(
        [binary, "-e", "stderr", "-c", str(conf)],
        preexec_fn=partial(end_with, os.getpid(), gently=True),  # noqa: PLW1509 - there are no threads here
    )
    try:
        _pass_on_signals(nginx)
        if ready_fd:
            _tell_once_it_listens(nginx, host, port, ready_fd)
        code = nginx.wait()
    finally:
        end_children()  # workers of an nginx that was killed would keep the port
    sys.exit(code if code >= 0 else 128 - code)


def _pass_on_signals(nginx: subprocess.Popen[bytes]) -> None:
    """Pass signals on to nginx: the first stop is graceful, the second is not, and SIGHUP reloads."""
    stops = iter((signal.SIGQUIT,))

    def stop(number: int, frame: object) -> None:  # noqa: ARG001 - signal's signature
        nginx.send_signal(next(stops, signal.SIGTERM))

    def reload(number: int, frame: object) -> None:  # noqa: ARG001
        nginx.send_signal(signal.SIGHUP)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)


def _tell_once_it_listens(nginx: subprocess.Popen[bytes], host: str, port: int, ready_fd: int) -> None:
    """Report the port once nginx listens on it. nginx does not say so itself, and another program may hold the port."""
    deadline = time.monotonic() + _LISTEN_S
    while time.monotonic() < deadline and nginx.poll() is None:
        try:
            socket.create_connection((host, port), _LISTEN_S).close()
        except OSError:
            accepts = False
        else:
            accepts = _listens(nginx.pid, port)
        if accepts:
            port_reporter(ready_fd)(port)
            return
        time.sleep(_POLL_S)
    os.close(ready_fd)


def _listens(pid: int, port: int) -> bool:
    try:
        return listens(pid, port)
    except PermissionError:  # nginx runs as another user, so its sockets are hidden: an open port has to suffice
        return True
