"""The dispatcher, from a request to its answer."""

from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Join, Relay, Send
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from tests.properties.twins import divisible

NOW = 100.0


def dispatcher(*names: str) -> Dispatcher:
    made = Dispatcher()
    made.set_members(list(names), NOW)
    for name in names:
        made.probed(name, "", NOW, Capabilities(batch_texts=4))
    return made


def test_a_request_without_spare_parts_is_not_halved_after_a_424():
    """Each half would repeat the frame: a request of 32 texts and 2 MB would be sent twenty times."""
    made = dispatcher("a", "b")

    asked = divisible([10] * 4, online=True, now=NOW, frame_bytes=1_000_000)
    asked.size_bytes = 1_000_160
    first = made.assign(asked, NOW)
    (again,) = made.answered(asked, first, 424, NOW)
    assert made.answered(asked, again.replica, 424, NOW) == [Relay(asked)]


def test_the_text_that_no_replica_can_compute_is_found_and_its_answer_relayed():
    """Only the answer to that text alone is relayed, not the answer to a part that has other texts too."""
    made = dispatcher("a", "b")
    asked = divisible([10, 10, 10, 10], online=True, now=NOW)
    at = made.assign(asked, NOW)
    assert at is not None
    waiting = [(asked, at)]
    relayed, calls = [], 0
    for _ in range(20):
        if not waiting:
            break
        chunk, replica = waiting.pop()
        calls += 1
        items = list(chunk.items or range(4))
        status = 424 if 2 in items else 200
        commands = made.answered(chunk, replica, status, NOW) or []
        waiting += [(command.chunk, command.replica) for command in commands if isinstance(command, Send)]
        waiting = [pair for pair in waiting if not asked.is_over]
        relayed += [command.chunk for command in commands if isinstance(command, Relay)]
    assert [list(chunk.items) for chunk in relayed] == [[2]]
    assert asked.is_over
    assert calls <= 6, "the whole is sent twice, each half once: two replicas are known to have failed the whole"


def test_a_bulk_request_is_spread_over_idle_replicas_and_joined():
    made = dispatcher("a", "b")
    asked = divisible([500] * 16, online=False, now=NOW)
    assert made.assign(asked, NOW) is None
    sends = [command for command in made.arrived(asked, NOW) if isinstance(command, Send)]
    assert {command.replica.id for command in sends} == {"a", "b"}
    assert all(command.chunk.texts <= 4 for command in sends)
    ended = []
    for _ in range(20):
        if not sends:
            break
        command = sends.pop()
        commands = made.answered(command.chunk, command.replica, 200, NOW) or []
        sends += [command for command in commands if isinstance(command, Send)]
        ended += [command for command in commands if isinstance(command, Join)]
    assert [join.request for join in ended] == [asked]
    assert made.queued_tokens == made.queued_bytes == 0


def test_learnt_slowness_outlives_an_ejection_until_a_new_measurement():
    made = dispatcher("a")
    replica, cost = made.replicas["a"], BatchCost(0.01, 1e-4)
    made.probed("a", "", NOW, None, cost)
    replica.pace.slowness = 3.0
    made.distrust("a", "reset")
    made.probed("a", "", NOW, None, cost)
    assert replica.pace.slowness == 3.0
    made.probed("a", "", NOW, None, BatchCost(0.02, 1e-4))
    assert replica.pace.slowness == 1.0, "it was measured anew"


def test_a_client_that_comes_back_to_an_idle_replica_counts_as_one_that_came_back():
    """Its reservation lapsed, so clients that all obeyed were taken for ones that stay away."""
    made = Dispatcher(DispatchLimits(online_queue_s=0.001))
    made.set_members(["a"], NOW)
    made.probed("a", "", NOW)
    replica = made.replicas["a"]
    replica.pause_until(NOW + 1)
    first, late = (divisible([200], online=True, now=NOW, number=number) for number in (1, 2))
    assert made.assign(first, NOW) is None
    assert made.arrived(first, NOW) == []
    assert made.assign(late, NOW) is None
    (refusal,) = made.arrived(late, NOW)
    again = NOW + refusal.error.retry_after_s
    assert made.tick(again)[0] == Send(first, replica)
    made.answered(first, replica, 200, again)
    reservations = made._admission._reservations_of_huge[True]
    assert len(reservations) == 1
    retry = divisible([200], online=True, now=again, number=2)
    assert made.assign(retry, again) is replica
    assert len(reservations) == 0
