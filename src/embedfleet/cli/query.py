"""Questions to a running fleet, over its admin socket."""

import asyncio
import importlib.util
from typing import Any

import orjson

from embedfleet.cli.output import say
from embedfleet.config.settings import Settings
from embedfleet.control.docker import Docker
from embedfleet.control.owner import Owner
from embedfleet.control.statefile import StateFile
from embedfleet.errors import DockerError, FleetError, Refused, Reset, UpstreamError, UsageError
from embedfleet.http.client import fetch

_TIMEOUT_S = 10.0
_OK, _REFUSED = 200, 409


def daemon(settings: Settings) -> Docker | None:
    """The Docker daemon, if there is one to ask: what a fleet left there needs no fleet that runs."""
    if importlib.util.find_spec("docker") is None:
        return None
    try:
        docker = Docker(settings.fleet.docker_host, Owner.of(settings))
        docker.engine()
    except DockerError:
        return None
    return docker


def say_elsewhere(docker: Docker | None) -> None:
    """Name the fleets in other folders whose containers are left alone."""
    for folder, names in docker.elsewhere().items() if docker is not None else ():
        say(
            f"{', '.join(names)} of the fleet in {folder} are left alone: `embedfleet down` there removes them;"
            f" if that fleet is gone for good, docker rm -f {' '.join(names)}"
        )


def ask(state: StateFile, method: str, path: str) -> dict[str, Any] | None:
    """The fleet's answer; None if no fleet runs, or it does not listen yet or any more.

    Raises:
        UsageError: it refuses.
        FleetError: it runs and does not answer, or does not know what it is asked.
    """
    address = state.read()
    if address is None:
        return None
    try:
        reply = asyncio.run(fetch(f"http+unix://{address.socket}:{path}", method=method, timeout_s=_TIMEOUT_S))
    except (Refused, Reset):
        return None
    except UpstreamError as error:
        raise FleetError(f"the fleet (pid {address.pid}) does not answer", f"kill {address.pid}") from error
    if reply.status == _REFUSED:
        refusal = orjson.loads(reply.body)
        raise UsageError(refusal["error"], refusal["hint"])
    if reply.status != _OK:
        raise FleetError(
            f"the fleet (pid {address.pid}) does not know {method} {path}",
            "it was started by another version: `embedfleet down`, then `embedfleet up`",
        )
    answer: dict[str, Any] = orjson.loads(reply.body)
    return answer
