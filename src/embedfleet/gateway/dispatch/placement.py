"""Which replica is sent a chunk: online work at once to the one that is done first, bulk work just in time."""

from collections.abc import Iterable, Sequence
from typing import Final

from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk

EARLY_S: Final = 0.008
"""Bulk is sent so long before a replica runs dry: what the way there and tokenization take. Sooner would make online
work that comes meanwhile wait behind it."""

# What a replica will be done sooner by counts in whole steps of this; else a quiet pool would use its fastest alone.
_STEP_S: Final = 0.001


def place_online(replicas: Sequence[Replica], chunk: Chunk, now: float) -> Replica | None:
    """The replica that will be done with the chunk first, of those with room; of equals the least used one.

    Args:
        replicas: that may get work.
        chunk: of them, those that failed it come last.
        now: in seconds.
    """
    tried = chunk.tried
    if tried and any(replica.id not in tried for replica in replicas):
        replicas = [replica for replica in replicas if replica.id not in tried]
    tokens, texts = chunk.tokens, chunk.texts
    best: Replica | None = None
    least = 0
    for replica in replicas:
        held = replica.tokens
        if held and (held + tokens > replica.window or replica.texts + texts > replica.permits):
            continue
        if replica.full_until > now:
            continue
        done = replica.pace.token_s * tokens
        if held:
            done += replica.eta(now)
        steps = int(done / _STEP_S)
        if best is None or steps < least or (steps == least and _is_less_used(replica, best)):
            best, least = replica, steps
    return best


def _is_less_used(one: Replica, other: Replica) -> bool:
    return one.tokens < other.tokens or (one.tokens == other.tokens and one.sent < other.sent)


def takes_bulk(replica: Replica, others: Iterable[Replica], now: float, *, spared: int) -> bool:
    """Whether a replica is to be sent bulk work now.

    Not while it has both kinds: online work that it has would wait for a whole chunk more. And not if it is one of the
    last ``spared`` replicas without bulk work.
    """
    if replica.full_until > now or replica.eta(now) > EARLY_S or (replica.bulk and replica.online):
        return False
    return not spared or sum(not other.bulk for other in others if other is not replica) >= spared


def fits(replica: Replica, tokens: int, texts: int, *, is_starved: bool = False) -> bool:
    """Whether a replica has room; an idle one always has, and for what is starved its window does not count."""
    return not replica.tokens or (
        (is_starved or replica.tokens + tokens <= replica.window) and replica.texts + texts <= replica.permits
    )
