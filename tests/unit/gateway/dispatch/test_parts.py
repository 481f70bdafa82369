"""The dispatcher's pure parts, one promise at a time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.gateway.dispatch.abilities import Abilities
from embedfleet.gateway.dispatch.budget import Budget
from embedfleet.gateway.dispatch.commands import Join, Relay, Send
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.pace import BatchCost, Pace, fit
from embedfleet.gateway.dispatch.placement import EARLY_S, place_online, takes_bulk
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Handle, Request, SplitState
from embedfleet.gateway.dispatch.splitting import (
    PartBounds,
    by_length,
    fewest_parts,
    split_evenly,
    split_next,
    split_state_of,
    staggered,
)
from embedfleet.gateway.dispatch.state import ReplicaEvent
from tests.properties.twins import divisible

NOW = 100.0


def state(*costs: int, order=None) -> SplitState:
    return SplitState(costs, [4 * cost for cost in costs], order or range(len(costs)))


def request(tokens: int, *, online: bool = True, texts: int = 1) -> Request:
    return Request(Handle(), tokens=tokens, texts=texts, size_bytes=4 * tokens, is_online=online, now=NOW, timeout_s=60)


def active(name: str) -> Replica:
    replica = Replica(name)
    replica.move(ReplicaEvent.GOOD)
    return replica


def dispatcher(*names: str) -> Dispatcher:
    made = Dispatcher()
    made.set_members(list(names), NOW)
    for name in names:
        made.probed(name, "", NOW, Abilities(batch_texts=4))
    return made


def test_a_chunk_stops_at_its_tokens_its_texts_and_its_bytes():
    assert split_next(state(40, 40, 40, 40, 40), PartBounds(100, 32, 10**6)) == ([0, 1], 80)
    assert split_next(state(*[1] * 9), PartBounds(4, 2, 10**6)) == ([0, 1], 2)
    assert split_next(state(10, 10, 10, 10, 10, 10), PartBounds(30, 32, 50)) == ([0], 10)


def test_a_text_over_every_bound_goes_alone():
    assert split_next(state(900, 900), PartBounds(100, 32, 10)) == ([0], 900)


def test_no_crumb_is_left_over():
    assert split_next(state(50, 50, 20), PartBounds(100, 32, 10**6)) == ([0, 1, 2], 120)


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(1, 40_000)), min_size=2, max_size=300),
    st.sampled_from([13, 200, 5_000, 60_000, 900_000, 2_000_000]),
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 32)), min_size=1, max_size=20),
)
def test_all_parts_together_are_at_most_twice_what_came(texts, frame_bytes, rooms):
    """300 tiny texts beside an ignored field of 2 MB became 300 parts of 2 MB: 31 MB of memory became 642."""
    costs, sizes = [cost for cost, _ in texts], [size for _, size in texts]
    received = frame_bytes + sum(sizes)

    class Framed(Handle):
        def split(self, *, by_length):
            return SplitState(
                costs, sizes, (by_length and range(len(costs))[::-1]) or range(len(costs)), 0, frame_bytes
            )

    asked = Request(
        Framed(),
        tokens=sum(costs),
        texts=len(texts),
        size_bytes=received,
        is_online=True,
        now=NOW,
        timeout_s=60,
    )
    abilities = Abilities(batch_texts=32, body_bytes=1_500_000)
    cut = split_state_of(asked, abilities, by_length=False)
    if cut is None:
        fewest = fewest_parts(sizes, frame_bytes, 32, 1_500_000)
        assert fewest * frame_bytes + sum(sizes) > max(2 * received, 256_000) - frame_bytes, "it could have been cut"
        return
    sent, parts = 0, 0
    while not cut.is_complete:
        tokens, _ = rooms[parts % len(rooms)]
        items, _ = split_next(cut, PartBounds.of(tokens, abilities))
        part = frame_bytes + sum(sizes[item] for item in items)
        assert len(items) <= 32
        assert len(items) == 1 or part <= 1_500_000
        sent += part
        parts += 1
    assert sent <= max(2 * received, 256_000)
    assert cut.spare_parts >= 0


def test_where_no_part_is_to_spare_no_text_is_looked_for_in_halves():
    """Each half would repeat the frame: a request of 32 texts and 2 MB would be sent twenty times."""
    made = dispatcher("a", "b")

    asked = divisible([10] * 4, online=True, now=NOW, frame_bytes=1_000_000)
    asked.size_bytes = 1_000_160
    first = made.assign(asked, NOW)
    (again,) = made.answered(asked, first, 424, NOW)
    assert made.answered(asked, again.replica, 424, NOW) == [Relay(asked)]


def test_scattered_chunks_are_even_and_whole():
    chunks = split_evenly(state(*[100] * 90), 4, Abilities())
    assert [item for items, _ in chunks for item in items] == list(range(90))
    assert max(tokens for _, tokens in chunks) <= 1.3 * min(tokens for _, tokens in chunks)


def test_texts_of_like_length_come_together():
    assert by_length([5, 90, 7]) == [1, 2, 0]


def test_a_budget_gives_its_burst_and_then_its_share():
    budget = Budget(0.1, 100)
    assert budget.spend(100, sent=0)
    assert not budget.spend(1, sent=0)
    assert budget.spend(5, sent=50)
    assert not budget.spend(1, sent=50)
    assert not budget.spend(101, sent=10**6)
    assert budget.spend(100, sent=10**6)


def test_a_cost_is_found_from_measured_batches():
    cost = fit([(tokens, 0.004 + tokens / 50_000) for tokens in (8, 512, 8192)])
    assert cost is not None
    assert cost.a_s == pytest.approx(0.004)
    assert cost.b_s == pytest.approx(1 / 50_000)
    assert fit([(8, 0.1), (8, 0.2)]) is None


def test_a_replica_that_takes_twice_its_cost_is_found_to_be_slow():
    pace, cost, now = Pace(), BatchCost(), NOW
    for _ in range(200):
        sent_at, now = now, now + 2 * (cost.a_s + cost.b_s * 8000)
        pace.learn(8000, sent_at, now)
    assert pace.slowness == pytest.approx(2.0, rel=0.25)


BATCHES = st.lists(
    st.tuples(st.lists(st.integers(10, 4000), min_size=1, max_size=6), st.floats(0, 0.5), st.booleans()), min_size=1
)


@given(BATCHES)
def test_a_replica_that_keeps_to_its_cost_is_not_found_slow_or_fast(batches):
    """Whether work waits for it or it for work: a biased estimate made equal replicas unequal, lb.md, 5.9 (iii)."""
    pace, cost, ended = Pace(), BatchCost(), NOW
    for tokens, pause, waits in batches:
        sent_at = ended - 0.01 if waits and ended > NOW else ended + pause
        ended = max(sent_at, ended) + cost.a_s + cost.b_s * sum(tokens)
        for one in tokens:
            pace.learn(one, sent_at, ended)
    assert pace.slowness == pytest.approx(1.0, abs=0.01)


def test_one_stall_is_not_taken_for_a_speed():
    pace, cost, now = Pace(), BatchCost(), NOW
    for number in range(100):
        took = 60.0 if number == 50 else cost.a_s + cost.b_s * 8000
        sent_at, now = now, now + took
        pace.learn(8000, sent_at, now)
    assert pace.slowness < 1.5


def test_online_work_goes_where_it_is_done_first():
    idle, busy = active("idle"), active("busy")
    busy.take(request(8000, online=False), NOW)
    assert place_online([busy, idle], request(20), NOW) is idle


def test_a_replica_that_hangs_does_not_look_like_the_one_that_is_done_first():
    """As its time runs out what it has seemed to be nearly done, and it was sent all queries: lb.md, 5.9 (i)."""
    hung, busy = active("hung"), active("busy")
    hung.take(request(100), NOW)
    for late_s in (0.5, 2.0, 60.0):
        now = NOW + late_s
        busy.take(request(9000, online=False), now)
        assert place_online([hung, busy], request(20), now) is busy
        busy.drop(next(iter(busy.chunks)), now)


def test_no_bulk_joins_a_replica_that_has_both_however_long_it_takes():
    """A time limit on that, shorter than a chunk, switched it off: lb.md, 5.9 (iv)."""
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


def test_the_text_that_no_replica_can_compute_is_found_and_its_answer_relayed():
    """The others' replicas must not be blamed for it."""
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
    assert calls <= 6, "the whole twice, and each half once: that two replicas failed the whole is known"


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


@pytest.mark.parametrize(("cost", "tokens"), [(BatchCost(0.006, 1 / 75_000), 9000), (BatchCost(1e-4, 1 / 1400), 42)])
def test_a_chunk_is_worth_its_fixed_cost_and_a_call_is_never_free(cost, tokens):
    """On a CPU a batch costs next to nothing beside its tokens; 500 short texts went in 159 calls."""
    assert cost.chunk_tokens == pytest.approx(tokens, rel=0.01)


COST = BatchCost(a_s=0.0, b_s=0.001)


def test_a_chunk_ends_between_those_of_the_others():
    assert staggered(1000, 0.0, [], COST) == 1000
    assert staggered(1000, 0.0, [1.0], COST) == 600  # as far as it may be from the other's end
    assert staggered(1000, 0.0, [0.5], COST) == 1000
    assert staggered(1000, 0.0, [0.25, 0.5, 0.75], COST) == 1000


def test_replicas_that_began_together_soon_end_one_after_the_other():
    ends = [1.0, 1.0, 1.0, 1.0]
    for _ in range(6):
        for place in range(4):
            others = [end for number, end in enumerate(ends) if number != place]
            ends[place] += COST.b_s * staggered(1000, ends[place], others, COST)
    turns = sorted(end % 1.0 for end in ends)
    gaps = [later - sooner for sooner, later in pairwise([*turns, turns[0] + 1.0])]
    assert min(gaps) > 0.15


def test_what_was_learnt_since_a_replica_was_measured_outlives_its_ejection():
    made = dispatcher("a")
    replica, cost = made.replicas["a"], BatchCost(0.01, 1e-4)
    made.probed("a", "", NOW, None, cost)
    replica.pace.slowness = 3.0
    made.distrust("a", "reset")
    made.probed("a", "", NOW, None, cost)
    assert replica.pace.slowness == 3.0
    made.probed("a", "", NOW, None, BatchCost(0.02, 1e-4))
    assert replica.pace.slowness == 1.0, "it was measured anew"


def test_what_goes_with_every_part_leaves_less_room_for_its_texts():
    sizes = [400, 400, 400, 400]
    framed = SplitState([100] * 4, sizes, range(4), frame_bytes=1000)
    assert split_next(framed, PartBounds(tokens=10_000, texts=32, size_bytes=2000))[0] == [0, 1]
    alone = SplitState([100] * 4, sizes, range(4), frame_bytes=5000)
    assert split_next(alone, PartBounds(tokens=10_000, texts=32, size_bytes=2000))[0] == [0], "one text cannot be cut"
