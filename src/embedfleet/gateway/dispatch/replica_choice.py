"""Choice of replicas: online work goes at once to the one that finishes first, bulk work just in time to idle ones."""

from collections.abc import Iterable, Sequence
from typing import Final

from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk

EARLY_S: Final = 0.008
"""Lead time, in seconds, at which bulk work is sent to a replica that runs out of work: transfer and tokenization.

If bulk work were sent sooner, online work that arrives meanwhile would wait behind it.
"""

# Resolution of compared finishing times, in seconds; with a finer one, a quiet pool would use its fastest replica only.
_STEP_S: Final = 0.001


def place_online(replicas: Sequence[Replica], chunk: Chunk, now: float) -> Replica | None:
    """Choose the replica with room that will finish the chunk first; among equals, the least used one.

    Args:
        replicas: Replicas that serve.
        chunk: Chunk to place; replicas that failed it are chosen only if there is no other.
        now: Time in seconds.
    """
    tried = chunk.tried
    if tried and any(replica.id not in tried for replica in replicas):
        replicas = [replica for replica in replicas if replica.id not in tried]
    tokens, texts = chunk.tokens, chunk.texts
    best: Replica | None = None
    least = 0
    for replica in replicas:
        if not replica.can_take(tokens, texts, now):
            continue
        done = replica.cycle.seconds_until(tokens, now)
        steps = int(done / _STEP_S)
        if best is None or steps < least or (steps == least and _is_less_used(replica, best)):
            best, least = replica, steps
    return best


def _is_less_used(one: Replica, other: Replica) -> bool:
    return one.tokens < other.tokens or (one.tokens == other.tokens and one.sent < other.sent)


def takes_bulk(
    replica: Replica, others: Iterable[Replica], now: float, *, spared: int, lead_s: float = EARLY_S
) -> bool:
    """Return whether bulk work should be sent to a replica now.

    It should not while the replica has work of both classes, because its online work would wait for one more chunk; and
    not if this is one of the last ``spared`` replicas without bulk work.

    Args:
        replica: Replica in question.
        others: Replicas that serve.
        now: Time in seconds.
        spared: Number of replicas to keep free of bulk work.
        lead_s: Seconds before the replica runs out of work at which it gets more.
    """
    if not replica.is_available(now) or replica.eta(now) > lead_s or (replica.bulk_chunks and replica.online_chunks):
        return False
    return not spared or sum(not other.bulk_chunks for other in others if other is not replica) >= spared
