"""The policies that are compared, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from typing_extensions import override

from bench.simulation.central import Central
from bench.simulation.exact import Exact
from bench.simulation.haproxy import Haproxy
from bench.simulation.nginx import Choose, Nginx, least_conn, least_time, random_two, round_robin
from embedfleet.simulation.policy import FrontDoor, GatewayPolicy, Policy, Stage


@dataclass(frozen=True, slots=True)
class NginxPolicy(Policy):
    """Nginx.

    Attributes:
        choose: Maker of the balancing method.
        split: Number of texts per request into which clients split their batches; 0 for whole batches.
    """

    choose: Callable[[], Choose]
    split: int = 0

    @property
    @override
    def name(self) -> str:
        return f"{self.choose.__name__}{f'_cut_{self.split}' if self.split else ''}"

    @override
    def front_door(self, stage: Stage) -> FrontDoor:
        return Nginx(stage.clock, stage.replicas, stage.ledger, self.choose(), self.split)


@dataclass(frozen=True, slots=True)
class HaproxyPolicy(Policy):
    """HAProxy with ``maxconn`` and priority classes.

    Attributes:
        most: ``maxconn`` of each server.
    """

    most: int

    @property
    @override
    def name(self) -> str:
        return f"haproxy_maxconn_{self.most}_priority"

    @override
    def front_door(self, stage: Stage) -> FrontDoor:
        return Haproxy(stage.clock, stage.replicas, stage.ledger, self.most)


class CentralPolicy(Policy):
    """The reference with one central queue."""

    @property
    @override
    def name(self) -> str:
        return "central_split_priority"

    @override
    def front_door(self, stage: Stage) -> FrontDoor:
        return Central(stage.clock, stage.replicas, stage.ledger, stage.cost)


class ExactPolicy(Policy):
    """The reference with exact knowledge."""

    @property
    @override
    def name(self) -> str:
        return "exact_knowledge"

    @override
    def front_door(self, stage: Stage) -> FrontDoor:
        return Exact(stage.clock, stage.replicas, stage.ledger)


OURS = "ours"
POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        NginxPolicy(round_robin),
        NginxPolicy(least_conn),
        NginxPolicy(random_two),
        NginxPolicy(least_time),
        NginxPolicy(round_robin, 32),
        NginxPolicy(least_conn, 32),
        HaproxyPolicy(4),
        CentralPolicy(),
        ExactPolicy(),
        GatewayPolicy(),
        GatewayPolicy(reserve=False),
        GatewayPolicy(prefer_online=False),
        GatewayPolicy(split=False),
        GatewayPolicy(hedge=False),
    )
}
"""``least_conn`` is also HAProxy's leastconn without ``maxconn``."""
