"""What a silent replica holds is asked of another as well, within a budget; the first answer counts.

What two silent replicas hold may be what they hang over: of a third it is asked alone, see `quarantine`.
"""

from collections.abc import Collection
from typing import Final

from embedfleet.gateway.dispatch.command import Command, Send
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.placement import place_online
from embedfleet.gateway.dispatch.pool import Roster
from embedfleet.gateway.dispatch.quarantine import Quarantine
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk
from embedfleet.gateway.dispatch.work import Work

# So many times its patience a chunk is given on a connection that was in use, while its replica answers others.
_LIVELY_TIMES: Final = 5


def hedge(limits: DispatchLimits, roster: Roster, work: Work, quarantine: Quarantine, now: float) -> list[Command]:
    """Of all that silent replicas hold, whatever their state, as long as there is room and budget."""
    silent = roster.silent(now)
    others = [replica for replica in roster.serving if replica not in silent] if silent else []
    if not others:
        return []
    commands: list[Command] = []
    for replica in silent:
        for chunk in sorted(replica.chunks, key=lambda chunk: not chunk.online):  # online work first
            if not _is_stuck(chunk, silent, limits) or chunk.is_accused or work.verdicts.of(chunk.fingerprints, now):
                continue
            chunk.tried |= {replica.id}
            if chunk.copy is not None:
                commands += quarantine.call_back(chunk, replica, now)
                continue
            other = place_online(others, chunk, now)
            if other is None or not work.hedges.spend(chunk.tokens, work.sent_tokens):
                continue
            work.send(chunk, other, now)
            commands.append(Send(chunk, other))
    return commands


def _is_stuck(chunk: Chunk, silent: Collection[Replica], limits: DispatchLimits) -> bool:
    """Whether nobody who has it says anything."""
    return chunk.copy is None or (chunk.replica in silent and chunk.copy in silent and chunk.sends < limits.sends)


def is_lost(chunk: Chunk, replica: Replica, limits: DispatchLimits, *, idle_since: float, now: float) -> bool:
    """Whether it is the connection that is silent, and not, or not only, the replica.

    Args:
        chunk: that the replica has; nothing has come back.
        replica: which.
        limits: of the dispatcher.
        idle_since: when the connection had been used last, before the chunk was sent on it; infinite if it was new.
        now: in seconds.
    """
    sent_at = replica.chunks.get(chunk, now)
    patience = chunk.due_at - chunk.sent_at
    if sent_at - idle_since >= limits.rested_s:
        return sent_at + patience < now
    return _hangs_alone(chunk, replica, sent_at)


def lose(roster: Roster, now: float) -> None:
    """Count no longer what hangs while its replica answers others: what it keeps free there would stay idle."""
    for replica in roster.replicas.values():
        for chunk, sent_at in replica.chunks.items():
            if chunk not in replica.lost and not chunk.is_on_trial and _hangs_alone(chunk, replica, sent_at):
                replica.lose(chunk, now)


def _hangs_alone(chunk: Chunk, replica: Replica, sent_at: float) -> bool:
    return sent_at + _LIVELY_TIMES * (chunk.due_at - chunk.sent_at) < replica.heard_at
