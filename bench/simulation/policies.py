"""Everything that can stand in front of replicas, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.simulation.central import Central
from bench.simulation.clock import Clock
from bench.simulation.door import Door, Ledger
from bench.simulation.haproxy import Haproxy
from bench.simulation.nginx import Choose, Nginx, least_conn, least_time, random_two, round_robin
from bench.simulation.ours import Ours
from bench.simulation.replica import SimReplica
from bench.workload import Cost
from embedfleet.gateway.dispatch.limits import DispatchLimits

UNBOUNDED = DispatchLimits(online_queue_s=1e9, bulk_queue_s=1e9, queue_bytes=10**12)
"""Queues without bounds, as the rivals': what is compared is the order of work, not who is turned away."""
BOUNDED = DispatchLimits(online_queue_s=1.0, bulk_queue_s=5.0, queue_bytes=10**12)
"""Queues for those who would rather be refused than wait."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a door is built upon.

    Attributes:
        clock: of the simulation.
        replicas: that it stands before.
        ledger: that it writes.
        cost: of the replicas' batches.
        limits: of the dispatcher; rivals have none.
        batch_texts: of one call; rivals, which cut nothing, have no bound.
    """

    clock: Clock
    replicas: Sequence[SimReplica]
    ledger: Ledger
    cost: Cost
    limits: DispatchLimits
    batch_texts: int


def _nginx(choose: Callable[[], Choose], cut: int = 0) -> Callable[[Stage], Door]:
    return lambda stage: Nginx(stage.clock, stage.replicas, stage.ledger, choose(), cut)


def _haproxy(most: int) -> Callable[[Stage], Door]:
    return lambda stage: Haproxy(stage.clock, stage.replicas, stage.ledger, most)


def _ours(
    *, reserve: bool = True, prefer_online: bool = True, split: bool = True, hedge: bool = True
) -> Callable[[Stage], Door]:
    def make(stage: Stage) -> Door:
        limits = replace(
            stage.limits,
            reserve=reserve,
            prefer_online=prefer_online,
            split=split,
            hedge=hedge,
            sort_by_length=stage.cost.padded,
        )
        return Ours(stage.clock, stage.replicas, stage.ledger, limits, stage.cost, stage.batch_texts)

    return make


OURS = "ours"
POLICIES: dict[str, Callable[[Stage], Door]] = {
    "round_robin": _nginx(round_robin),
    "least_conn": _nginx(least_conn),
    "random_two": _nginx(random_two),
    "least_time": _nginx(least_time),
    "round_robin_cut_32": _nginx(round_robin, 32),
    "least_conn_cut_32": _nginx(least_conn, 32),
    "haproxy_maxconn_4_priority": _haproxy(4),
    "central_split_priority": lambda stage: Central(stage.clock, stage.replicas, stage.ledger, stage.cost),
    OURS: _ours(),
    "ours_without_reserve": _ours(reserve=False),
    "ours_without_priority": _ours(prefer_online=False),
    "ours_without_splitting": _ours(split=False),
    "ours_without_hedging": _ours(hedge=False),
}
"""``least_conn`` is HAProxy's leastconn too, where no ``maxconn`` is set."""

SPLITTING = frozenset({OURS, "ours_without_reserve", "ours_without_priority", "ours_without_hedging"})
"""Those that keep within the texts and the permits that TEI takes of one client."""
