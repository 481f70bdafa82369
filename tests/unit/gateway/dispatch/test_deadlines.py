"""A request is refused once it has waited too long, and its work is taken off the replicas."""

import pytest

from embedfleet.errors import DeadlineExceeded, Unhealthy
from embedfleet.gateway.dispatch.commands import Cancel, Failure, Refuse
from embedfleet.gateway.dispatch.suspicion import overdue, patience_s
from embedfleet.types import ReplicaState
from tests.properties.twins import divisible
from tests.unit.gateway.dispatch.test_sending import NOW, ask, fleet, refused, sends


def refusals(commands) -> list[Refuse]:
    return [command for command in commands if isinstance(command, Refuse)]


def test_a_deadline_takes_the_work_off_its_replica_and_tells_the_client():
    made = fleet(1)
    (sent,) = ask(made, [20], timeout_s=5.0)
    assert not refusals(made.tick(NOW + 4.9))
    commands = made.tick(NOW + 5.1)
    (refuse,) = refusals(commands)
    assert isinstance(refuse.error, DeadlineExceeded)
    assert str(refuse.error).startswith("not answered in 5.1 s, which is its deadline")
    assert any(isinstance(command, Cancel) and command.chunk is sent.chunk for command in commands)
    assert (sent.replica.tokens, len(sent.replica.chunks)) == (0, 0)
    assert not refusals(made.tick(NOW + 60))


def without_replica(online: bool = True):
    """Return a dispatcher whose only replica refused a request and was ejected, and that request, which waits."""
    made = fleet(1)
    (sent,) = ask(made, [20], online=online)
    assert sends(made.failed(sent.chunk, sent.replica, Failure.REFUSED, NOW)) == []
    made.tick(NOW + 0.1)
    assert not made.serving
    return made, sent.chunk.request


@pytest.mark.parametrize("online", [True, False])
def test_a_waiting_request_is_refused_after_a_time_without_a_replica(online):
    made, request = without_replica(online)
    longest = made.limits.no_replica_s
    assert refused(made.tick(NOW + longest / 2)) == []
    (refuse,) = refusals(made.tick(NOW + longest + 1))
    assert isinstance(refuse.error, Unhealthy)
    assert (refuse.request, refuse.reason) == (request, "no-replica")
    assert request.is_over
    assert refused(made.tick(NOW + 2 * longest)) == []


def test_a_new_request_is_not_refused_for_an_earlier_outage():
    made, request = without_replica()
    later = NOW + made.limits.no_replica_s - 1
    arrived = made.arrived(divisible([20], online=True, now=later), later)
    (refuse,) = refusals([*arrived, *made.tick(later + 2)])
    assert refuse.request is request


# silence


@pytest.mark.parametrize(("predicted", "expected"), [(0.0, 0.2), (0.01, 0.2), (1.0, 3.0)])
def test_an_answer_may_take_three_times_the_prediction_and_at_least_200_ms(predicted, expected):
    assert patience_s(predicted) == pytest.approx(expected)


@pytest.mark.parametrize(("replicas", "suspects"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_at_most_half_of_the_pool_is_suspect_at_once(replicas, suspects):
    """If more replicas are silent, the cause is probably elsewhere."""
    made = fleet(replicas)
    for _ in range(replicas):
        ask(made, [20])
    pool = list(made.replicas.values())
    assert all(replica.chunks for replica in pool)
    assert list(overdue(pool, NOW)) == []
    late = list(overdue(pool, NOW + 60))
    assert len(late) == suspects
    for replica in late:
        replica.state = ReplicaState.SUSPECT
    assert list(overdue(pool, NOW + 60)) == []


def test_an_ejected_replica_does_not_count_towards_the_suspects():
    made = fleet(3)
    for _ in range(3):
        ask(made, [20])
    pool = list(made.replicas.values())
    pool[0].state = ReplicaState.EJECTED
    (late,) = overdue(pool, NOW + 60)
    assert late is not pool[0]
