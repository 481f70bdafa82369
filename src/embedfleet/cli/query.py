"""Requests to a running fleet over its admin socket, and to the Docker daemon about a fleet that has ended."""

import asyncio
import importlib.util
import time
from typing import Any

import orjson

from embedfleet.cli.output import say
from embedfleet.config.settings import Settings
from embedfleet.control.docker.client import Docker
from embedfleet.control.docker.fleet_identity import FleetIdentity
from embedfleet.control.host.activity import activity_of
from embedfleet.control.host.disk import run_as_hint
from embedfleet.control.run.fleet_lock import FleetAddress, FleetLock
from embedfleet.control.status import FleetStatus
from embedfleet.errors import DockerError, FleetError, FleetSilent, Refused, Reset, UpstreamError, UsageError
from embedfleet.http.client import fetch

_TIMEOUT_S = 10.0
_PATIENCE_S, _RETRY_S = 0.5, 0.05
_OK, _REFUSED, _FAILED = 200, 409, 500


def daemon(settings: Settings) -> Docker | None:
    """Connect to the Docker daemon, which knows the containers of a fleet that has ended; None if that fails."""
    if importlib.util.find_spec("docker") is None:
        return None
    try:
        docker = Docker.connect(settings.fleet.docker_host, FleetIdentity.read(settings))
        docker.engine()
    except DockerError:
        return None
    return docker


def say_elsewhere(docker: Docker | None) -> None:
    """Print a line about each fleet of another folder whose containers exist, and are left alone."""
    for folder, names in docker.elsewhere().items() if docker is not None else ():
        say(
            f"{', '.join(names)} of the fleet in {folder} are left alone: `embedfleet down` there removes them;"
            f" if that fleet is gone for good, docker rm -f {' '.join(names)}"
        )


def ask_status(lock: FleetLock) -> FleetStatus | None:
    """Ask a fleet for its status; None if no fleet runs.

    Raises:
        FleetSilent: The fleet runs, but cannot be asked now.
        FleetError: The fleet is another version, which does not know the request.
    """
    answer = ask(lock, "GET", "/status")
    return None if answer is None else FleetStatus.from_json(answer)


def ask(lock: FleetLock, method: str, path: str, timeout_s: float = _TIMEOUT_S) -> dict[str, Any] | None:
    """Send a request to a fleet; return its answer, or None if no fleet runs.

    Raises:
        UsageError: The fleet refuses.
        FleetSilent: The fleet runs, but cannot be asked now.
        FleetError: The fleet fails to carry out the request, or does not know it.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        address = lock.read()
        if address is None:
            return None
        try:
            return _ask(lock, address, method, path, timeout_s)
        except FleetSilent:
            if time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_S)  # the fleet may be about to listen, or to end


def _ask(lock: FleetLock, address: FleetAddress, method: str, path: str, timeout_s: float) -> dict[str, Any]:
    if not address.socket:
        raise FleetSilent(
            f"the fleet in {lock.folder} (pid {address.pid}) is starting",
            "ask again in a moment; `embedfleet down` stops it",
            pid=address.pid,
            is_starting=True,
        )
    try:
        reply = asyncio.run(fetch(f"http+unix://{address.socket}:{path}", method=method, timeout_s=timeout_s))
    except UpstreamError as error:
        raise _silent(lock, address, error) from error
    if reply.status in {_REFUSED, _FAILED}:
        said = orjson.loads(reply.body)
        raise (UsageError if reply.status == _REFUSED else FleetError)(said["error"], said["hint"])
    if reply.status != _OK:
        raise FleetError(
            f"the fleet (pid {address.pid}) does not know {method} {path}",
            "it was started by another version: `embedfleet down`, then `embedfleet up`",
        )
    answer: dict[str, Any] = orjson.loads(reply.body)
    return answer


def _silent(lock: FleetLock, address: FleetAddress, error: UpstreamError) -> FleetSilent:
    """Make the error that says why a fleet cannot be asked."""
    who = f"the fleet in {lock.folder} (pid {address.pid or 'unknown'}) runs, but"
    if isinstance(error.__cause__, PermissionError):
        return FleetSilent(f"{who} cannot be asked: permission denied", run_as_hint(lock.owner()), pid=address.pid)
    if isinstance(error, Refused | Reset):
        return FleetSilent(
            f"{who} cannot be asked: nothing listens at {address.socket}",
            "it listens there again within seconds, if it can; `embedfleet down` stops it in any case",
            pid=address.pid,
        )
    return FleetSilent(f"{who} does not answer", _remedy(address.pid), pid=address.pid)


def _remedy(pid: int) -> str:
    """Return the hint for a fleet that does not answer."""
    activity = activity_of(pid) if pid else None
    if activity is not None and activity.is_stopped:
        return f"a signal has stopped it or one of its children: kill -CONT {pid}; children that run still serve"
    return "`embedfleet down` stops it" + (f"; kill -9 {pid} ends it" if pid else "")
