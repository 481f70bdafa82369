"""The fleet's own admin API, on a Unix socket: what `status`, `down`, `drain` and `undrain` talk to."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import orjson

from embedfleet.control.run.child import Child
from embedfleet.control.run.drain import drain, undrain
from embedfleet.control.run.reload import Replaced
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.errors import FleetError, UpstreamError, UsageError
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT
from embedfleet.http.server import Server

log = logging.getLogger(__name__)

_REPLICAS = "/replicas/"


class FleetApi:
    """``GET /status``, ``POST /stop``, ``/reload``, ``/new-model``, ``/replicas/{name}/drain`` and ``/undrain``.

    What is refused is answered 409 with ``error`` and ``hint``; a reload that failed likewise, with 500.
    """

    def __init__(self, supervisor: Supervisor, reload: Callable[[], Awaitable[list[Replaced]]]) -> None:
        self._supervisor = supervisor
        self._reload = reload
        self._tasks: set[asyncio.Task[None]] = set()
        self.server = Server(self.handle)

    def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        place, _, verb = exchange.path.rpartition("/")
        match (exchange.method, verb):
            case (b"GET", "status") if not place:
                self._spawn(exchange, self._status(exchange))
            case (b"POST", "stop") if not place:
                self._supervisor.stop()
                exchange.respond(200, [JSON], b"{}")
            case (b"POST", "reload") if not place:
                self._spawn(exchange, self._answer_reload(exchange))
            case (b"POST", "new-model") if not place:
                self._spawn(exchange, self._allow_new_model(exchange))
            case (b"POST", "drain" | "undrain") if place.startswith(_REPLICAS):
                self._spawn(exchange, self._keep_out(exchange, place.removeprefix(_REPLICAS), drains=verb == "drain"))
            case _:
                said = (
                    b"there are GET /status, POST /stop, POST /reload, POST /new-model, POST /replicas/{name}/drain and"
                    b" POST /replicas/{name}/undrain"
                )
                exchange.respond(404, [TEXT], said)

    def _spawn(self, exchange: Exchange, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._answered(exchange, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _answered(exchange: Exchange, work: Coroutine[None, None, None]) -> None:
        """Whatever goes wrong, whoever asked is told."""
        try:
            await work
        except Exception as error:
            log.exception("%r cannot be answered", exchange.path)
            if not exchange.begun:
                said = {"error": f"the fleet cannot answer: {error!r}", "hint": "see its log, `embedfleet logs up`"}
                exchange.respond(500, [JSON], orjson.dumps(said))

    async def _answer_reload(self, exchange: Exchange) -> None:
        try:
            replaced = await self._reload()
        except (UsageError, FleetError) as error:
            status = 409 if isinstance(error, UsageError) else 500
            exchange.respond(status, [JSON], orjson.dumps({"error": error.message, "hint": error.hint}))
        else:
            exchange.respond(200, [JSON], orjson.dumps({"replaced": replaced}))

    async def _keep_out(self, exchange: Exchange, name: str, *, drains: bool) -> None:
        try:
            if drains:
                await drain(self._supervisor, name, force=exchange.target.endswith(b"?force"))
            else:
                undrain(self._supervisor, name)
        except UsageError as error:
            exchange.respond(409, [JSON], orjson.dumps({"error": error.message, "hint": error.hint}))
        else:
            exchange.respond(200, [JSON], b"{}")

    async def _allow_new_model(self, exchange: Exchange) -> None:
        try:
            await self._supervisor.allow_new_model(self._supervisor.services)
        except UpstreamError as error:
            refusal = {"error": f"a gateway cannot be told now: {error}", "hint": "see `embedfleet status`; ask again"}
            exchange.respond(409, [JSON], orjson.dumps(refusal))
        else:
            exchange.respond(200, [JSON], b"{}")

    async def _status(self, exchange: Exchange) -> None:
        exchange.respond(200, [JSON], orjson.dumps(await fleet_status(self._supervisor)))


async def fleet_status(supervisor: Supervisor) -> dict[str, Any]:
    """Everything that is known of a running fleet."""
    services = await asyncio.gather(*(_service(supervisor, name) for name in supervisor.services))
    ready = supervisor.serves and all(is_whole(service) for service in services)
    own = {"pid": os.getpid(), "ready": ready, "pss_bytes": pss_bytes(os.getpid())}
    return own | {"services": services}


def is_whole(service: Mapping[str, Any]) -> bool:
    """Whether a service's balancer answers, and its replicas serve: all that nobody has drained, and one at least."""
    states = {row["state"] for row in service["replicas"]}
    answers = service["gateway"]["phase"] in {"ready", "running"}
    return answers and states <= {"active", "draining", "drained"} and (not states or "active" in states)


async def _service(supervisor: Supervisor, name: str) -> dict[str, Any]:
    balancer = supervisor.balancer(name)
    rows = await supervisor.states(name)
    replicas = [_replica(child, rows.get(child.spec.name)) for child in supervisor.replicas(name)]
    return {"name": name, "port": balancer.port, "gateway": _balancer(balancer), "replicas": replicas}


def _balancer(child: Child) -> dict[str, Any]:
    """A balancer's process; who listens and does not answer is silent."""
    complaint = child.complaint
    return _process(child) | ({"phase": "silent"} if complaint else {}) | {"reason": complaint}


def _replica(child: Child, seen: dict[str, Any] | None) -> dict[str, Any]:
    """A replica's process, and what its balancer says of it."""
    return (
        _process(child)
        | {"url": child.url}
        | (seen or {"state": child.observed.phase.value, "reason": child.cannot_start})
    )


def _process(child: Child) -> dict[str, Any]:
    pid = child.running.pid if child.running else None
    return {
        "id": child.spec.name,
        "pid": pid,
        "phase": child.observed.phase.value,
        "restarts": child.observed.restarts,
        "last_end": child.last_end,
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
