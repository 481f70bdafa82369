"""What each rival does, one decision at a time."""

import pytest

from bench.simulation.central import CHUNK_TOKENS, Central
from bench.simulation.haproxy import Haproxy
from bench.simulation.nginx import (
    FAIL_TIMEOUT_S,
    Nginx,
    Server,
    least_conn,
    least_time,
    random_two,
    round_robin,
)
from embedfleet.load.workload import Arrival
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.ledger import Ledger
from embedfleet.simulation.replica import SimReplica

COST = BatchCost(a_s=1.0, b_s=0.0001, batch_tokens=10_000)


def servers(under_way, mean_ms=(0, 0, 0)) -> list[Server]:
    clock = Clock()
    found = [Server(number, SimReplica(clock, COST)) for number in range(len(under_way))]
    for server, busy, mean in zip(found, under_way, mean_ms, strict=True):
        server.under_way, server.mean_ms = busy, mean
    return found


def chosen(choose, found, times=6) -> list[int]:
    return [choose(found).number for _ in range(times)]


def test_round_robin_takes_turns():
    assert chosen(round_robin(), servers([9, 0, 3])) == [0, 1, 2, 0, 1, 2]


def test_least_conn_takes_the_least_busy_and_of_equals_each_in_turn():
    assert set(chosen(least_conn(), servers([2, 1, 3]))) == {1}
    assert chosen(least_conn(), servers([1, 1, 3])) == [0, 1, 0, 1, 0, 1]


def test_least_time_weighs_connections_by_mean_time_in_classes_of_20_ms():
    assert set(chosen(least_time(), servers([0, 2, 5], [100, 19, 300]))) == {1}  # 120, 60 and 1920
    assert chosen(least_time(), servers([1, 1, 1], [1, 19, 20])) == [0, 1, 0, 1, 0, 1]
    assert set(chosen(least_time(), servers([0, 1, 1], [20_000, 6000, 6000]))) == {0}  # above 5 s all are equally slow


def test_random_two_takes_the_less_busy_of_two():
    counts = chosen(random_two(), servers([0, 5, 9]), times=300)
    assert 2 not in counts  # of any two there is a less busy one
    assert {0, 1} == set(counts)


class Scene:
    def __init__(self, make, replicas=2, **given):
        self.clock, self.ledger = Clock(), Ledger()
        self.replicas = [SimReplica(self.clock, COST, ahead=False, **given) for _ in range(replicas)]
        self.door = make(self.clock, self.replicas, self.ledger)
        self.asked = 0

    def ask(self, at, kind, *tokens):
        arrival = Arrival(self.asked, at, kind, tokens)
        self.asked += 1
        self.clock.at(at, lambda: self.door.arrive(arrival))

    def run(self):
        self.clock.run(1000)
        return {number: round(latency, 2) for number, latency in self.ledger.latency_s.items()}, self.ledger.refused


def test_nginx_sends_at_once_whatever_waits_there():
    scene = Scene(lambda *stage: Nginx(*stage, round_robin()))
    scene.ask(0, "bulk", *[9000] * 3)
    scene.ask(0.1, "online", 10)
    scene.ask(0.2, "online", 10)
    assert scene.run() == ({0: 5.7, 1: 1.0, 2: 5.5}, {})


def test_a_cut_request_is_answered_when_all_of_it_is_and_fails_if_any_does():
    scene = Scene(lambda *stage: Nginx(*stage, round_robin(), 2), permits=2)
    scene.ask(0, "bulk", 10, 10, 5000, 4000)
    scene.ask(0.1, "bulk", 10, 10, 10)
    assert scene.run() == ({0: 1.9}, {1: 429})


def test_nginx_asks_another_after_a_refused_connection_and_leaves_the_server_alone_for_a_while():
    scene = Scene(lambda *stage: Nginx(*stage, round_robin()))
    scene.clock.at(1, lambda: scene.replicas[0].crash(5))
    for at in (2, 4, 6, 8, 10):
        scene.ask(at, "online", 10)
    scene.ask(2 + FAIL_TIMEOUT_S + 0.5, "online", 10)
    for later in (0.6, 0.7, 0.8):
        scene.ask(2 + FAIL_TIMEOUT_S + later, "online", 10)
    assert scene.run()[1] == {}
    assert scene.replicas[0].tokens == 10  # one is tried after the time is over; until it answers no other follows
    assert scene.replicas[1].tokens == 80


def test_a_request_that_was_sent_is_lost_with_its_server():
    scene = Scene(lambda *stage: Nginx(*stage, round_robin()))
    scene.ask(0, "online", 10)
    scene.clock.at(0.5, lambda: scene.replicas[0].crash(5))
    assert scene.run() == ({}, {0: 502})


def test_nobody_left_is_a_bad_gateway():
    scene = Scene(lambda *stage: Nginx(*stage, least_conn()))
    for replica in scene.replicas:
        replica.crash(100)
    scene.ask(1, "online", 10)
    assert scene.run() == ({}, {0: 502})


def test_haproxy_keeps_what_is_over_maxconn_and_lets_queries_go_first():
    scene = Scene(lambda *stage: Haproxy(*stage, 1), replicas=1)
    scene.ask(0, "bulk", 5000)
    scene.ask(0.1, "bulk", 5000)
    scene.ask(0.2, "online", 10)
    assert scene.run() == ({0: 1.5, 1: 3.9, 2: 2.3}, {})


def test_haproxy_tries_another_server_after_a_refused_connection():
    scene = Scene(lambda *stage: Haproxy(*stage, 4))
    scene.replicas[0].crash(100)
    for at in range(1, 5):
        scene.ask(at, "online", 10)
    latencies, refused = scene.run()
    assert len(latencies) == 4
    assert refused == {}


def test_the_reference_cuts_spreads_and_lets_queries_overtake():
    scene = Scene(lambda *stage: Central(*stage, COST), replicas=2)
    scene.ask(0, "bulk", *[CHUNK_TOKENS] * 10)
    scene.ask(0.1, "online", 10)
    latencies, refused = scene.run()
    assert refused == {}
    assert sum(replica.tokens for replica in scene.replicas) == 10 * CHUNK_TOKENS + 10
    assert min(replica.tokens for replica in scene.replicas) >= 4 * CHUNK_TOKENS
    assert latencies[1] < latencies[0]  # in the order of coming it would be the last


@pytest.mark.parametrize("choose", [round_robin, least_conn, least_time, random_two])
def test_one_server_is_enough(choose):
    scene = Scene(lambda *stage: Nginx(*stage, choose()), replicas=1)
    scene.ask(0, "online", 10)
    assert scene.run() == ({0: 1.0}, {})
