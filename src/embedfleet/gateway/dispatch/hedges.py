"""What a silent replica holds is asked of another as well, within a budget; the first answer counts."""

from collections.abc import Collection

from embedfleet.gateway.dispatch.command import Command, Send
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.placement import place_online
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk
from embedfleet.gateway.dispatch.roster import Roster
from embedfleet.gateway.dispatch.work import Work


def hedge(limits: DispatchLimits, roster: Roster, work: Work, now: float) -> list[Command]:
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
            other = place_online(others, chunk, now)
            if other is None or not work.hedges.spend(chunk.tokens, work.sent_tokens):
                continue
            if chunk.copy is not None:  # at two at most
                commands += work.take_off(chunk, replica, now)
            work.send(chunk, other, now)
            commands.append(Send(chunk, other))
    return commands


def _is_stuck(chunk: Chunk, silent: Collection[Replica], limits: DispatchLimits) -> bool:
    """Whether nobody who has it says anything."""
    return chunk.copy is None or (chunk.replica in silent and chunk.copy in silent and chunk.sends < limits.sends)
