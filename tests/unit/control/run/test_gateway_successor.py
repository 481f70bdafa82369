"""A successor serves once every replica that serves for the former gateway serves for it too."""

import itertools

import pytest

from embedfleet.control.run.gateway_successor import still_to_infer
from embedfleet.types import Endpoint, ReplicaReport, ReplicaState


def reports(**states: ReplicaState) -> list[ReplicaReport]:
    return [ReplicaReport(Endpoint(name, ""), state) for name, state in states.items()]


STATES = [ReplicaState.ACTIVE, ReplicaState.JOINING, ReplicaState.EJECTED, ReplicaState.DRAINED]


@pytest.mark.parametrize(("first", "second"), list(itertools.product(STATES, STATES)))
def test_the_successor_needs_exactly_the_replicas_that_served(first, second):
    reports_by_both = reports(a=first, b=ReplicaState.ACTIVE), reports(a=second)
    assert still_to_infer(*reports_by_both) == (
        {"b"} | ({"a"} if first is ReplicaState.ACTIVE is not second else set())
    )


def test_without_an_answer_of_the_former_gateway_one_replica_must_serve():
    assert still_to_infer([], reports(a=ReplicaState.JOINING, b=ReplicaState.EJECTED)) == {"a", "b"}
    assert still_to_infer([], reports(a=ReplicaState.JOINING, b=ReplicaState.ACTIVE)) == set()
    assert still_to_infer([], []) == set(), "there are none"
