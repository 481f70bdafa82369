"""Policies of the load balancer in front of simulated replicas: the interface, and our gateway as one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from typing_extensions import override

from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.load.workload import Arrival
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.gateway import SimGateway
from embedfleet.simulation.ledger import Ledger
from embedfleet.simulation.replica import PERMITS, SimReplica

UNBOUNDED = DispatchLimits(online_queue_s=1e9, bulk_queue_s=1e9, queue_bytes=10**12)
"""Limits without bounds on the queues, as with rivals, for comparisons of the order of work and not of refusals."""
BOUNDED = DispatchLimits(online_queue_s=1.0, bulk_queue_s=5.0, queue_bytes=10**12)
"""Limits with short queues, for clients that prefer a refusal to a long wait."""


ESTIMATE_ERROR = 0.2
"""Error of the dispatcher's estimate of a text's tokens from its characters, as sigma of the logarithm."""


class FrontDoor(Protocol):
    """A load balancer, which sends calls to replicas, and gets callbacks from the calls and from the clock."""

    def arrive(self, arrival: Arrival) -> None:
        """Handle a client's request, and end it once with `Ledger.finish` or `Ledger.refuse`."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The environment of a front door.

    Attributes:
        clock: Clock of the simulation.
        replicas: Replicas behind the front door.
        ledger: Record of the arrivals' ends.
        cost: Cost of a replica's batch.
        limits: Limits of our dispatcher; rivals have none.
        batch_texts: Maximum number of texts in one call of our gateway; rivals, which split nothing, have no limit.
        permits: Maximum number of texts in progress at a replica, as its ``/info`` would state.
        estimate_error: Error of our dispatcher's estimates of a text's tokens, as sigma of the logarithm.
    """

    clock: Clock
    replicas: Sequence[SimReplica]
    ledger: Ledger
    cost: BatchCost
    limits: DispatchLimits
    batch_texts: int
    permits: int = PERMITS
    estimate_error: float = ESTIMATE_ERROR


class Policy(ABC):
    """A named way to distribute requests."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in tables and on command lines."""

    @property
    def keeps_limits(self) -> bool:
        """Whether calls stay within TEI's limits of texts and permits."""
        return False

    @abstractmethod
    def front_door(self, stage: Stage) -> FrontDoor:
        """Make a front door in an environment."""


@dataclass(frozen=True, slots=True)
class GatewayPolicy(Policy):
    """Our gateway, with features of its dispatcher on or off.

    Attributes:
        reserve: Whether one replica is kept free of bulk work while little of it waits.
        prefer_online: Whether bulk work makes way for online work.
        split: Whether requests are split into chunks.
        hedge: Whether the chunks of a silent replica are also sent to another.
    """

    reserve: bool = True
    prefer_online: bool = True
    split: bool = True
    hedge: bool = True

    @property
    @override
    def name(self) -> str:
        parts = {
            "reserve": self.reserve,
            "priority": self.prefer_online,
            "splitting": self.split,
            "hedging": self.hedge,
        }
        return "_".join(["ours", *(f"without_{part}" for part, is_on in parts.items() if not is_on)])

    @property
    @override
    def keeps_limits(self) -> bool:
        return self.split

    @override
    def front_door(self, stage: Stage) -> FrontDoor:
        limits = replace(
            stage.limits,
            reserve=self.reserve,
            prefer_online=self.prefer_online,
            split=self.split,
            hedge=self.hedge,
            sort_by_length=stage.cost.padded,
        )
        abilities = Capabilities(
            batch_tokens=stage.cost.batch_tokens, batch_texts=stage.batch_texts, permits=stage.permits
        )
        return SimGateway(
            stage.clock,
            stage.replicas,
            stage.ledger,
            limits,
            cost=stage.cost,
            abilities=abilities,
            estimate_error=stage.estimate_error,
        )
