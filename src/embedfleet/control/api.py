"""The fleet's own admin API, on a Unix socket: what `status` and `down` talk to."""

import asyncio
import os
import time
from typing import Any

import orjson

from embedfleet.control.supervisor import Child, Supervisor
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT
from embedfleet.http.server import Server


class FleetApi:
    """``GET /status`` and ``POST /stop``."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._tasks: set[asyncio.Task[None]] = set()
        self.server = Server(self.handle)

    def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        match (exchange.method, exchange.path):
            case (b"GET", "/status"):
                task = asyncio.get_running_loop().create_task(self._status(exchange))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case (b"POST", "/stop"):
                self._supervisor.stop()
                exchange.respond(200, [JSON], b"{}")
            case _:
                exchange.respond(404, [TEXT], b"there are GET /status and POST /stop")

    async def _status(self, exchange: Exchange) -> None:
        exchange.respond(200, [JSON], orjson.dumps(await fleet_status(self._supervisor)))


async def fleet_status(supervisor: Supervisor) -> dict[str, Any]:
    """Everything that is known of a running fleet."""
    services = await asyncio.gather(*(_service(supervisor, name) for name in supervisor.services))
    own = {"pid": os.getpid(), "ready": supervisor.serves, "pss_bytes": pss_bytes(os.getpid())}
    return own | {"services": services}


async def _service(supervisor: Supervisor, name: str) -> dict[str, Any]:
    balancer = supervisor.balancer(name)
    rows = await supervisor.states(name)
    replicas = [_replica(child, rows.get(child.spec.name)) for child in supervisor.replicas(name)]
    return {"name": name, "port": balancer.port, "gateway": _process(balancer), "replicas": replicas}


def _replica(child: Child, seen: dict[str, Any] | None) -> dict[str, Any]:
    """A replica's process, and what its balancer says of it."""
    return _process(child) | {"url": child.url} | (seen or {"state": child.observed.phase.value})


def _process(child: Child) -> dict[str, Any]:
    pid = child.running.pid if child.running else None
    return {
        "id": child.spec.name,
        "pid": pid,
        "phase": child.observed.phase.value,
        "restarts": child.observed.restarts,
        "uptime_s": round(time.time() - child.started_at, 1) if pid else 0,
        "pss_bytes": pss_bytes(pid) if pid else 0,
    }


def pss_bytes(pid: int) -> int:
    """A process's memory, shared pages counted by share (proc(5), smaps_rollup); 0 where it cannot be read."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as stream:  # noqa: PTH123 - no path of ours
            return next((int(line.split()[1]) * 1024 for line in stream if line.startswith("Pss:")), 0)
    except OSError:
        return 0
