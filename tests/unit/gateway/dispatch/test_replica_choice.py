"""Choice of the replica that a chunk is sent to."""

from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.replica_choice import EARLY_S, place_online, takes_bulk
from embedfleet.gateway.dispatch.request import Handle, Request
from embedfleet.gateway.dispatch.state_transitions import ReplicaEvent

NOW = 100.0


def request(tokens: int, *, online: bool = True, texts: int = 1) -> Request:
    return Request(Handle(), tokens=tokens, texts=texts, size_bytes=4 * tokens, is_online=online, now=NOW, timeout_s=60)


def active(name: str) -> Replica:
    replica = Replica(name)
    replica.move(ReplicaEvent.GOOD)
    return replica


def test_online_work_goes_to_the_replica_that_finishes_it_first():
    idle, busy = active("idle"), active("busy")
    busy.take(request(8000, online=False), NOW)
    assert place_online([busy, idle], request(20), NOW) is idle


def test_a_hung_replica_does_not_look_like_the_first_to_finish():
    """In a former version its work seemed nearly done when its predicted time ran out, so it got all queries."""
    hung, busy = active("hung"), active("busy")
    hung.take(request(100), NOW)
    for late_s in (0.5, 2.0, 60.0):
        now = NOW + late_s
        busy.take(request(9000, online=False), now)
        assert place_online([hung, busy], request(20), now) is busy
        busy.drop(next(iter(busy.chunks)), now)


def test_a_replica_with_work_of_both_classes_gets_no_bulk_however_long_it_takes():
    """A former version had a time limit for this that was shorter than a chunk, so that it had no effect."""
    replica = active("both")
    bulk, query = request(9000, online=False), request(20)
    replica.take(bulk, NOW)
    replica.take(query, NOW)
    for now in (NOW, NOW + 0.01, replica.free_at - EARLY_S, replica.free_at, replica.free_at + 0.005):
        assert not takes_bulk(replica, [replica], now, spared=0)
    replica.drop(query, replica.free_at)
    assert takes_bulk(replica, [replica], replica.free_at - EARLY_S / 2, spared=0)


def test_online_work_waits_rather_than_overfill_a_window():
    full = active("full")
    full.take(request(full.window - 10), NOW)
    assert place_online([full], request(20), NOW) is None
    assert place_online([active("empty")], request(10**6), NOW) is not None


def test_a_batch_that_is_nearly_done_counts_for_what_is_left_of_it():
    """Counted by its unanswered tokens alone, the nearly idle replica looked busier than the one that just began."""
    ending, beginning = active("ending"), active("beginning")
    ending.take(request(4000), NOW)
    now = NOW + 4000 * ending.pace.token_s
    beginning.take(request(2000), now)
    assert place_online([beginning, ending], request(20), now) is ending


def test_an_answer_tells_that_the_next_batch_has_begun():
    replica = active("r")
    first, second, third = request(1000), request(2000), request(500)
    for number, chunk in enumerate((first, second, third)):
        replica.take(chunk, NOW + number / 1000)
    cycle = replica.cycle
    assert (cycle.running, cycle.formed, cycle.queued) == (1000, 2000, 500)
    replica.answered(first, NOW + 0.01)
    replica.drop(first, NOW + 0.01)
    assert (cycle.running, cycle.formed, cycle.queued) == (2000, 500, 0)


def test_the_work_behind_a_failed_batch_is_still_counted():
    replica = active("r")
    first, second = request(1000), request(2000)
    replica.take(first, NOW)
    replica.take(second, NOW + 0.001)
    replica.drop(first, NOW + 0.01)  # it failed
    assert replica.cycle.running == 2000
    replica.lose(second, NOW + 0.02)
    assert replica.cycle.running == 0
    replica.drop(second, NOW + 0.03)
    assert (replica.cycle.running, replica.cycle.formed, replica.cycle.queued) == (0, 0, 0)
