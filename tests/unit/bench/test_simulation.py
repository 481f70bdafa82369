"""The simulator: TEI's replica against timelines worked out by hand, and what must not happen in front of it."""

import pytest

from bench.simulation.__main__ import LIMITS, POLICIES, simulate
from bench.simulation.clock import Clock
from bench.simulation.door import Ledger
from bench.simulation.ours import Ours
from bench.simulation.replica import NETWORK_S, SimCall, SimReplica
from bench.workload import Cost, arrivals

COST = Cost(a_s=1.0, b_s=0.01, batch_tokens=100)


def run(*sends: tuple[float, tuple[int, ...]], permits: int = 512, cost: Cost = COST) -> list[tuple[int, float]]:
    """Status and time of the answer to each request, sent when it is said."""
    clock = Clock()
    replica = SimReplica(clock, cost, permits=permits)
    answers: dict[int, tuple[int, float]] = {}
    for number, (at, tokens) in enumerate(sends):
        call = SimCall(tokens, lambda status, number=number: answers.__setitem__(number, (status, clock.now)))
        clock.at(at, lambda call=call: replica.send(call))
    clock.run(1000)
    return [(status, round(at - 2 * NETWORK_S, 6)) for status, at in (answers[n] for n in range(len(sends)))]


def test_a_batch_takes_what_waits_and_fits_in_order():
    first, second, third = run((0, (10,)), (0.1, (60,)), (0.2, (50,)))
    assert first == (200, 1.1)
    assert second == (200, 2.7)
    assert third == (200, 4.2)


def test_a_request_is_answered_when_its_last_text_is_done():
    assert run((0, (90, 20))) == [(200, 3.1)]


def test_padded_texts_cost_what_the_longest_does():
    assert run((0, (40, 10)), cost=Cost(1.0, 0.01, 100, padded=True)) == [(200, 1.8)]


def test_permits_are_taken_whole_or_not_at_all():
    assert [status for status, _ in run((0, (10, 10)), (0.1, (10, 10)), (0.2, (10,)), permits=3)] == [200, 429, 200]


def test_what_was_cancelled_is_not_computed():
    clock = Clock()
    replica = SimReplica(clock, COST)
    calls = [SimCall((50,), lambda _: None) for _ in range(3)]
    for call in calls:
        replica.send(call)
    clock.at(0.5, lambda: replica.cancel(calls[1]))
    clock.at(0.5, lambda: replica.cancel(calls[2]))
    clock.run(100)
    assert replica.tokens == 50


def fleet(count: int, cost: Cost = Cost(), **limits) -> tuple[Clock, list[SimReplica], Ledger, Ours]:  # noqa: B008
    clock, ledger = Clock(), Ledger()
    replicas = [SimReplica(clock, cost) for _ in range(count)]
    door = Ours(clock, replicas, ledger, LIMITS, cost)
    clock.run(0.1)
    return clock, replicas, ledger, door


def ask(clock: Clock, door: Ours, asked) -> None:
    for arrival in asked:
        clock.at(clock.now + arrival.at_s, lambda arrival=arrival: door.arrive(arrival))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_arrival_ends_once_and_the_same_seed_gives_the_same(policy):
    cost = Cost()
    asked = arrivals("mix", 0.7, 3 * cost.tokens_per_s, 5, seed=4)
    first, second = (simulate(policy, asked, 3, cost, 5) for _ in range(2))
    assert len(first.latency_s) == len(asked)
    assert first == second


def test_a_replica_that_hangs_is_no_sink():
    """An expected end that decays to now would make it look free: the most attractive of all."""
    clock, replicas, ledger, door = fleet(4)
    asked = arrivals("mix", 0.5, 4 * Cost().tokens_per_s, 20, seed=1)
    ask(clock, door, asked)
    clock.run(5)
    replicas[0].stall(60)
    clock.run(60)
    online = {arrival.number for arrival in asked if arrival.kind == "online"}
    assert online <= ledger.latency_s.keys()
    assert max(ledger.latency_s[number] for number in online) < 5 + 1


def test_a_suspect_that_is_well_again_serves_again():
    clock, replicas, _, door = fleet(4)
    ask(clock, door, arrivals("mix", 0.7, 4 * Cost().tokens_per_s, 30, seed=2))
    clock.run(5)
    replicas[0].stall(3)
    clock.run(20)
    before = replicas[0].tokens
    assert [replica.state for replica in door.dispatcher.replicas.values()] == ["active"] * 4
    clock.run(30)
    assert replicas[0].tokens > before


def test_a_crash_loses_nothing():
    clock, replicas, ledger, door = fleet(3)
    asked = arrivals("mix", 0.6, 3 * Cost().tokens_per_s, 20, seed=3)
    ask(clock, door, asked)
    clock.run(5)
    replicas[1].crash(5)
    clock.run(120)
    assert len(ledger.latency_s) == len(asked)
    assert ledger.refused == {}


def test_equal_replicas_are_not_thought_unequal():
    """A biased estimate of speed sends the work to whoever is flattered."""
    clock, _, _, door = fleet(4)
    ask(clock, door, arrivals("docs", 0.7, 4 * Cost().tokens_per_s, 10, seed=5))
    clock.run(10)
    slowness = [replica.pace.slowness for replica in door.dispatcher.replicas.values()]
    assert max(slowness) / min(slowness) < 1.2


def test_bulk_is_never_put_behind_bulk_that_online_work_waits_for():
    clock, _, _, door = fleet(2)
    seen = []
    send = door._send

    def watch(chunk, replica):
        if not chunk.online:
            seen.append((replica.bulk, replica.online))
        send(chunk, replica)

    door._send = watch
    ask(clock, door, arrivals("mix", 0.9, 2 * Cost().tokens_per_s, 20, seed=6))
    clock.run(60)
    assert seen
    assert all(bulk <= 1 or online == 0 for bulk, online in seen)


def test_queries_are_quick_beside_bulk_where_least_conn_makes_them_wait():
    cost = Cost()
    asked = arrivals("mix", 0.85, 4 * cost.tokens_per_s, 40, seed=7)
    online = [arrival.number for arrival in asked if arrival.kind == "online"]
    p99 = {}
    for policy in ("ours", "least_conn"):
        ledger = simulate(policy, asked, 4, cost, 40)
        p99[policy] = sorted(ledger.latency_s[number] for number in online)[int(0.99 * len(online))]
    assert p99["least_conn"] > 10 * p99["ours"]
