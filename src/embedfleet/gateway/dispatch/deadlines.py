"""What nobody waits for any more is given up: its deadline is over, or no replica has served for too long."""

from embedfleet.errors import DeadlineExceeded, Unhealthy
from embedfleet.gateway.dispatch.command import Command, Refuse
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pool import Roster
from embedfleet.gateway.dispatch.request import Request
from embedfleet.gateway.dispatch.work import Work


def give_up(limits: DispatchLimits, roster: Roster, work: Work, now: float) -> list[Command]:
    """Refuse every request that has waited for too long."""
    commands: list[Command] = []
    for request in [request for request in work.open if request.deadline < now]:
        why = "which is its deadline"
        if request.is_accused:
            why += "; a replica died with it, so it waits for one that can be risked: drain what is gone for good"
        commands += work.abandon(request, now)
        commands.append(
            Refuse(request, DeadlineExceeded(f"not answered in {now - request.arrived:.1f} s, {why}"), "deadline")
        )
    if roster.active:
        return commands
    longest = now - limits.no_replica_s
    unserved = work.open if roster.unserved_since < longest else ()
    for request in [request for request in unserved if request.arrived < longest and not _is_sent(request)]:
        commands += work.abandon(request, now)
        commands.append(Refuse(request, Unhealthy("no replica is ready to serve"), "no-replica"))
    return commands


def _is_sent(request: Request) -> bool:
    """Whether a replica has any of it."""
    parts = request.batch.parts if request.batch is not None else ()
    return request.replica is not None or any(part.replica is not None for part in parts)
