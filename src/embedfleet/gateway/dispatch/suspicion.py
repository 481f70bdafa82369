"""Suspicion: how long a replica may be silent, so that a hung one is noticed and a slow one is left alone."""

from collections.abc import Collection, Iterable
from typing import Final

from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.types import ReplicaState

_LEAST_S: Final = 0.2
_TIMES: Final = 3.0
# Largest share of the pool that is suspect at once: if more are silent, the cause is probably elsewhere.
_MOST = 0.5


def patience_s(predicted_s: float) -> float:
    """Return the longest allowed time of an answer, in seconds, given its predicted time."""
    return max(_LEAST_S, _TIMES * predicted_s)


def overdue(replicas: Collection[Replica], now: float) -> Iterable[Replica]:
    """Return the replicas that become suspect now."""
    serving = [replica for replica in replicas if replica.state in {ReplicaState.ACTIVE, ReplicaState.SUSPECT}]
    room = int(_MOST * len(serving)) - sum(replica.state is ReplicaState.SUSPECT for replica in serving)
    late = (replica for replica in serving if replica.state is ReplicaState.ACTIVE and replica.is_overdue(now))
    return [replica for replica, _ in zip(late, range(room), strict=False)]
