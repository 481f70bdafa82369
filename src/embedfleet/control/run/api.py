"""Admin API of a fleet on a Unix socket, which ``embedfleet status``, ``down``, ``drain`` and other verbs use."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine

import orjson

from embedfleet.control.run.background_tasks import BackgroundTasks
from embedfleet.control.run.child import Child
from embedfleet.control.run.drain import drain, undrain
from embedfleet.control.run.reload import Replaced
from embedfleet.control.run.running_service import RunningService
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.control.status import (
    BalancerStatus,
    CodeStatus,
    FleetStatus,
    ProcessStatus,
    ReplicaStatus,
    ServiceStatus,
)
from embedfleet.errors import FleetError, UpstreamError, UsageError
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT
from embedfleet.http.server import Server
from embedfleet.types import ReplicaReport

log = logging.getLogger(__name__)

_REPLICAS = "/replicas/"
_ROUTES = (
    b"there are GET /status, POST /stop, POST /reload, POST /new-model, POST /replicas/{name}/drain and"
    b" POST /replicas/{name}/undrain"
)


class FleetApi:
    """Admin API of one fleet.

    It has ``GET /status``, ``POST /stop``, ``/reload``, ``/new-model``, ``/replicas/{name}/drain`` and ``/undrain``.

    A refusal is answered 409 with ``error`` and ``hint``; a failed reload or an unforeseen error, 500 with the same.

    Args:
        supervisor: Supervisor of the fleet.
        reload: Function that replaces the gateways.
        code: Function that returns what the gateways run; None if none is a process.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        reload: Callable[[], Awaitable[list[Replaced]]],
        code: Callable[[], CodeStatus | None] = lambda: None,
    ) -> None:
        self._supervisor = supervisor
        self._reload = reload
        self._code = code
        self._tasks = BackgroundTasks()
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
                self._spawn(
                    exchange, self._set_drained(exchange, place.removeprefix(_REPLICAS), drains=verb == "drain")
                )
            case _:
                exchange.respond(404, [TEXT], _ROUTES)

    def _spawn(self, exchange: Exchange, work: Coroutine[None, None, None]) -> None:
        self._tasks.spawn(self._answered(exchange, work))

    @staticmethod
    async def _answered(exchange: Exchange, work: Coroutine[None, None, None]) -> None:
        """Do the work of a request, and answer 500 after an unforeseen error."""
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

    async def _set_drained(self, exchange: Exchange, name: str, *, drains: bool) -> None:
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
            await self._supervisor.allow_new_model()
        except UpstreamError as error:
            refusal = {
                "error": f"a gateway does not take the order now: {error}",
                "hint": "see `embedfleet status`; ask again",
            }
            exchange.respond(409, [JSON], orjson.dumps(refusal))
        else:
            exchange.respond(200, [JSON], b"{}")

    async def _status(self, exchange: Exchange) -> None:
        status = await fleet_status(self._supervisor, self._code())
        exchange.respond(200, [JSON], orjson.dumps(status.to_json()))


async def fleet_status(supervisor: Supervisor, code: CodeStatus | None = None) -> FleetStatus:
    """Return the status of a running fleet."""
    services = tuple(await asyncio.gather(*(_service(service) for service in supervisor.services.values())))
    is_ready = supervisor.has_started and all(service.is_whole for service in services)
    return FleetStatus(os.getpid(), is_ready, pss_bytes(os.getpid()), services, code)


async def _service(service: RunningService) -> ServiceStatus:
    reports = await service.reports()
    replicas = tuple(_replica(child, reports.get(child.name)) for child in service.replicas)
    return ServiceStatus(service.name, service.gateway.port, _balancer(service), replicas)


def _balancer(service: RunningService) -> BalancerStatus:
    """Return the status of a balancer; one that listens but does not answer is silent."""
    child = service.gateway
    phase = "silent" if child.fault else child.observed.phase.value
    return BalancerStatus(_process(child, phase), child.fault, service.balancer.code)


def _replica(child: Child, report: ReplicaReport | None) -> ReplicaStatus:
    process = _process(child, child.observed.phase.value)
    if report is None:
        return ReplicaStatus(process, child.url, child.phase_state, child.start_fault)
    return ReplicaStatus.of(process, report)


def _process(child: Child, phase: str) -> ProcessStatus:
    pid = child.running.pid if child.running else None
    return ProcessStatus(
        child.name,
        pid,
        phase,
        child.observed.restarts,
        child.last_end,
        round(time.time() - child.started_at, 1) if pid else 0,
        pss_bytes(pid) if pid else 0,
    )


def pss_bytes(pid: int) -> int:
    """Return a process's memory in bytes, with its share of shared pages (proc(5), smaps_rollup); 0 if unknown."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as stream:  # noqa: PTH123 - no path of ours
            return next((int(line.split()[1]) * 1024 for line in stream if line.startswith("Pss:")), 0)
    except OSError:
        return 0
