"""Refusal of requests that waited too long: past their deadline, or without a serving replica for some time."""

from embedfleet.errors import DeadlineExceeded, Unhealthy
from embedfleet.gateway.dispatch.commands import Command, Refuse
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.open_requests import OpenRequests
from embedfleet.gateway.dispatch.pool import Pool
from embedfleet.gateway.dispatch.request import Request


def give_up(limits: DispatchLimits, pool: Pool, requests: OpenRequests, now: float) -> list[Command]:
    """Refuse every request that has waited too long."""
    commands: list[Command] = []
    for request in [request for request in requests.open if request.deadline < now]:
        why = "which is its deadline"
        if request.is_accused:
            why += "; a replica died with it, so it waits for a replica that can be risked: drain dead replicas"
        commands += requests.abandon(request, now)
        commands.append(
            Refuse(request, DeadlineExceeded(f"not answered in {now - request.arrived:.1f} s, {why}"), "deadline")
        )
    if pool.active:
        return commands
    longest = now - limits.no_replica_s
    unserved = requests.open if pool.unserved_since < longest else ()
    for request in [request for request in unserved if request.arrived < longest and not _is_at_replica(request)]:
        commands += requests.abandon(request, now)
        commands.append(Refuse(request, Unhealthy("no replica is ready to serve"), "no-replica"))
    return commands


def _is_at_replica(request: Request) -> bool:
    """Return whether a replica has any chunk of the request."""
    return any(chunk.replica_id for chunk in request.chunks())
