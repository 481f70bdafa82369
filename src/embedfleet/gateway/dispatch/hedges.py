"""What a silent replica holds is asked of another as well, within a budget; the first answer counts."""

from embedfleet.gateway.dispatch.command import Command, Send
from embedfleet.gateway.dispatch.placement import place_online
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.roster import Roster
from embedfleet.gateway.dispatch.work import Work


def hedge(roster: Roster, work: Work, now: float) -> list[Command]:
    """Of all that suspect replicas hold, as long as there is room and budget."""
    commands: list[Command] = []
    for suspect in roster.suspects:
        commands += _hedge(suspect, roster, work, now)
    return commands


def _hedge(suspect: Replica, roster: Roster, work: Work, now: float) -> list[Command]:
    """Online work first."""
    commands: list[Command] = []
    for chunk in sorted(suspect.chunks, key=lambda chunk: not chunk.online):
        if chunk.copy is not None:
            continue
        other = place_online(roster.serving, chunk, now)
        if other is None or not work.hedges.spend(chunk.tokens, work.sent_tokens):
            break
        chunk.tried |= {suspect.id}
        work.send(chunk, other, now)
        commands.append(Send(chunk, other))
    return commands
