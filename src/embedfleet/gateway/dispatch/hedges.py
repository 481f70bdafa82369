"""Hedging: a chunk at a silent replica is also sent to another one, within a budget, and the first answer counts.

A chunk over which two replicas are silent may be why they hang, so a third one gets it alone (`quarantine`).
"""

from collections.abc import Collection
from typing import Final

from embedfleet.gateway.dispatch.commands import Command, Send
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.open_requests import OpenRequests
from embedfleet.gateway.dispatch.pool import Pool
from embedfleet.gateway.dispatch.quarantine import Quarantine
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.replica_choice import place_online
from embedfleet.gateway.dispatch.request import Chunk

# Multiple of the usual patience for a chunk whose replica answers others and whose connection was in recent use.
_LIVELY_TIMES: Final = 5


def hedge(
    limits: DispatchLimits, pool: Pool, requests: OpenRequests, quarantine: Quarantine, now: float
) -> list[Command]:
    """Send the chunks of silent replicas, in any state, to other replicas too, while there is room and budget."""
    silent = pool.silent(now)
    others = [replica for replica in pool.serving if replica not in silent] if silent else []
    if not others:
        return []
    commands: list[Command] = []
    silent_ids = {replica.id for replica in silent}
    for replica in silent:
        for chunk in sorted(replica.chunks, key=lambda chunk: not chunk.is_online):  # online work first
            if not _is_stuck(chunk, silent_ids, limits) or chunk.is_accused:
                continue
            if requests.records.of(chunk.fingerprints, now):
                continue
            chunk.tried |= {replica.id}
            if chunk.copy_id:
                commands += quarantine.call_back(chunk, replica, now)
                continue
            other = place_online(others, chunk, now)
            if other is None or not requests.may_hedge(chunk):
                continue
            requests.send(chunk, other, now)
            commands.append(Send(chunk, other))
    return commands


def _is_stuck(chunk: Chunk, silent: Collection[str], limits: DispatchLimits) -> bool:
    """Return whether every replica that has the chunk is silent; a chunk at two must have a send left.

    Args:
        chunk: Chunk that a silent replica has.
        silent: Names of the silent replicas.
        limits: Limits of the dispatcher.
    """
    return not chunk.copy_id or (chunk.replica_id in silent and chunk.copy_id in silent and chunk.sends < limits.sends)


def asks_again(
    chunk: Chunk, replica: Replica, requests: OpenRequests, limits: DispatchLimits, *, idle_since: float, now: float
) -> bool:
    """Return whether to send a chunk to its replica again on a new connection; no other replica may have the chunk.

    Args:
        chunk: Chunk at the replica, without a byte of a reply yet.
        replica: Replica that has the chunk.
        requests: Open requests, with the budget of hedges.
        limits: Limits of the dispatcher.
        idle_since: Time of the connection's last use before the chunk was sent on it; infinite if it was new.
        now: Time in seconds.
    """
    if not limits.hedge or chunk.copy_id or chunk.is_accused:
        return False
    sent_at = replica.chunks.get(chunk, now)
    if sent_at - idle_since >= limits.rested_s:  # after such a rest, the connection may be dead
        is_lost = sent_at + (chunk.due_at - chunk.sent_at) < now
    else:
        is_lost = _hangs_alone(chunk, replica, sent_at)
    return is_lost and requests.may_hedge(chunk)


def lose(pool: Pool, now: float) -> None:
    """Stop counting chunks that hang while their replica answers others, so that its room does not stay unused."""
    for replica in pool.replicas.values():
        for chunk, sent_at in replica.chunks.items():
            if chunk not in replica.lost and not chunk.is_on_trial and _hangs_alone(chunk, replica, sent_at):
                replica.lose(chunk, now)


def _hangs_alone(chunk: Chunk, replica: Replica, sent_at: float) -> bool:
    return sent_at + _LIVELY_TIMES * (chunk.due_at - chunk.sent_at) < replica.heard_at
