"""Sends of chunks: where, when, and when again; one rule per test."""

import pytest

from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Failure, Probe, Refuse, Relay, Send
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.replica_choice import EARLY_S
from embedfleet.gateway.dispatch.request import counts_as_online
from embedfleet.types import ReplicaState
from tests.properties.twins import divisible

NOW = 100.0


def fleet(count: int, abilities: Capabilities | None = None, **limits) -> Dispatcher:
    """Make a dispatcher with replicas ``0``, ``1``, … that have served for so long that their windows are open."""
    made = Dispatcher(DispatchLimits(**limits))
    names = [str(number) for number in range(count)]
    made.set_members(names, NOW - 100)
    for name in names:
        made.probed(name, "", NOW - 100, abilities or Capabilities())
    made.tick(NOW)
    for name in names:
        made.probed(name, "", NOW)
    return made


def ask(made: Dispatcher, costs, *, online=True, now=NOW, timeout_s=100.0) -> list[Send]:
    request = divisible(costs, online=online, now=now, timeout_s=timeout_s)
    replica = made.assign(request, now)
    if replica is not None:
        return [Send(request, replica)]
    return sends(made.arrived(request, now))


def refused(commands) -> list[str]:
    return [command.reason for command in commands if isinstance(command, Refuse)]


def sends(commands) -> list[Send]:
    return [command for command in commands or [] if isinstance(command, Send)]


def test_without_a_connection_a_chunk_goes_elsewhere_and_no_replica_is_blamed():
    made = fleet(2)
    (first,) = ask(made, [20])
    (second,) = sends(made.failed(first.chunk, first.replica, Failure.STARVED, NOW))
    assert second.replica is not first.replica
    assert made.failed(second.chunk, second.replica, Failure.STARVED, NOW) == [], "it is not sent round in circles"
    assert [replica.state for replica in made.serving] == [ReplicaState.ACTIVE] * 2
    assert (first.chunk.sends, first.chunk.tried) == (0, frozenset())
    (third,) = sends(made.tick(NOW + made.limits.full_s))
    assert made.answered(third.chunk, third.replica, 200, NOW + 1) is None


def test_a_chunk_that_waits_for_a_connection_gets_the_first_free_one():
    made = fleet(1)
    (busy,), (first,) = ask(made, [20]), ask(made, [20])
    assert made.failed(first.chunk, first.replica, Failure.STARVED, NOW) == []
    commands = made.answered(busy.chunk, busy.replica, 200, NOW + 0.01)
    assert [send.chunk for send in sends(commands)] == [first.chunk]


def test_a_chunk_without_a_connection_for_long_is_refused_with_the_reason():
    made = fleet(1)
    (send,) = ask(made, [20])
    assert made.failed(send.chunk, send.replica, Failure.STARVED, NOW) == []
    later = NOW + made.limits.no_replica_s + 1
    (send,) = sends(made.tick(later))
    (refusal,) = made.failed(send.chunk, send.replica, Failure.STARVED, later)
    assert (refusal.reason, refusal.error.status, "files" in str(refusal.error)) == ("starved", 503, True)
    assert made.under_way == 0


def test_a_probe_that_could_not_be_made_is_repeated_and_changes_no_state():
    made = fleet(1)
    later = NOW + made.limits.probe_interval_s + 1
    (probe,) = made.tick(later)
    assert made.unprobed(probe.replica.id, later) == []
    assert probe.replica.state is ReplicaState.ACTIVE
    assert made.tick(later + 0.1) == []
    assert made.tick(later + made.limits.probe_retry_s[0]) == [probe]


@pytest.mark.parametrize(
    ("texts", "tokens", "rerank", "online"),
    [
        (1, 8192, False, True),
        (8, 4096, False, True),
        (9, 90, False, False),
        (8, 4097, False, False),
        (100, 50_000, True, True),
    ],
)
def test_a_ranking_few_short_texts_and_one_text_of_any_length_are_online(texts, tokens, rerank, online):
    assert counts_as_online(texts, tokens, is_rerank=rerank) is online


def test_without_preference_work_is_done_in_order_of_arrival():
    made = fleet(1, prefer_online=False)
    (running,) = ask(made, [40_000], online=False)
    assert ask(made, [900] * 4, online=False, timeout_s=600.0) == []
    assert ask(made, [20], now=NOW + 0.01, timeout_s=10.0) == []
    sent = sends(made.answered(running.chunk, running.replica, 200, NOW + 0.2))
    assert [send.chunk.tokens for send in sent] == [3600, 20]


def test_with_preference_online_work_overtakes_bulk():
    made = fleet(1)
    (running,) = ask(made, [40_000])
    assert ask(made, [900] * 4, online=False) == []
    assert ask(made, [20], now=NOW + 0.01) == []
    sent = sends(made.answered(running.chunk, running.replica, 200, NOW + 0.2))
    assert sent[0].chunk.tokens == 20


@pytest.mark.parametrize(("replicas", "spared"), [(2, 1), (4, 1), (8, 1), (16, 2)])
def test_a_replica_is_kept_free_while_that_costs_bulk_work_little(replicas, spared):
    """If batches were on all replicas, every query would wait, although few replicas would suffice for them."""
    chunk_tokens = 9_000
    most = 2 * (replicas - 1) * replicas * chunk_tokens
    for backlog, with_bulk in ((0.8 * most, replicas - spared), (1.5 * most + 16_384 * replicas, replicas)):
        made = fleet(replicas)
        ask(made, [1])
        ask(made, [500] * round(backlog / 500), online=False)
        assert sum(replica.bulk_chunks > 0 for replica in made.replicas.values()) == with_bulk


def test_no_replica_is_kept_free_without_online_work():
    made = fleet(4)
    ask(made, [500] * 100, online=False)
    assert all(replica.bulk_chunks for replica in made.replicas.values())


def test_short_texts_fill_a_chunk_in_several_calls():
    """With one call of 32 titles at a time, the fixed cost would take most of the time."""
    made = fleet(1, Capabilities(batch_texts=32))
    sent = sends(made.arrived(divisible([60] * 512, online=False, now=NOW), NOW))
    assert [send.chunk.texts for send in sent] == [32] * len(sent)
    whole = made.replicas["0"].abilities.batch_tokens
    assert 2 / 3 * 0.95 * whole < sum(send.chunk.tokens for send in sent) <= whole


def test_a_small_rest_of_a_chunk_is_not_filled_with_another_call():
    made = fleet(1, Capabilities(batch_texts=32))
    (send,) = sends(made.arrived(divisible([412] * 512, online=False, now=NOW), NOW))
    assert send.chunk.texts == 32


def test_a_body_too_large_for_a_replica_is_split_however_few_its_texts_and_replicas():
    made = fleet(1, Capabilities(body_bytes=9000))
    sent = ask(made, [900] * 6)
    assert [send.chunk.texts for send in sent] == [2, 2, 2]


def test_small_bulk_requests_are_sent_until_a_replica_has_enough_to_do():
    made = Dispatcher()
    made.set_members(["a"], NOW)
    for _ in range(9):
        ask(made, [20], online=False)
    sent = sends(made.probed("a", "", NOW, Capabilities()))
    replica = made.replicas["a"]
    assert 1 < len(sent) < 9
    assert replica.eta(NOW) > EARLY_S


def test_a_request_without_a_serving_replica_is_split_for_the_next_to_serve():
    made = fleet(1, Capabilities(batch_texts=4))
    made.distrust("0", "moved")
    assert ask(made, [10] * 10) == []
    made.probed("0", "", NOW)
    assert [send.chunk.texts for send in sends(made.probed("0", "", NOW))] == [4, 4, 2]


def test_requests_without_a_serving_replica_wait_as_if_all_served():
    made = fleet(1)
    made.distrust("0", "moved")
    for _ in range(20):
        ask(made, [500])
    assert made.under_way == 20


def test_an_idle_replica_that_is_probed_does_not_start_slowly_again():
    made = fleet(1)
    made.tick(NOW + 1)
    assert made.replicas["0"].window == made.replicas["0"].widest


def test_a_chunk_goes_elsewhere_after_a_429_which_is_relayed_once_all_gave_it():
    made = fleet(2)
    (first,) = ask(made, [20])
    (second,) = sends(made.answered(first.chunk, first.replica, 429, NOW))
    assert second.chunk is first.chunk
    assert second.replica is not first.replica
    assert made.answered(second.chunk, second.replica, 429, NOW) == [Relay(first.chunk)]
    assert made.under_way == 0


@pytest.mark.parametrize("status", [429, 500])
def test_a_status_is_not_relayed_while_the_other_replicas_are_ejected(status):
    """A former version relayed a 429 after 10 ms, while the others were ejected: `all` over no replicas is true."""
    made = fleet(2)
    (asked,) = ask(made, [20])
    for name in made.replicas:
        made.distrust(name, "moved")
    assert made.answered(asked.chunk, asked.replica, status, NOW) == []
    (other,) = (replica for replica in made.replicas.values() if replica is not asked.replica)
    made.probed(other.id, "", NOW + 1)
    assert sends(made.probed(other.id, "", NOW + 2)) == [Send(asked.chunk, other)]


def test_a_waiting_request_is_refused_after_a_long_outage_and_not_after_a_long_wait():
    made = fleet(1, no_replica_s=30.0)
    (running,) = ask(made, [900] * 30, online=False)
    for _ in range(2):  # more than is sent a batch ahead
        ask(made, [900] * 30, online=False)
    made.tick(NOW + 40)
    made.answered(running.chunk, running.replica, 200, NOW + 40)
    made.distrust("0", "moved")
    assert refused(made.tick(NOW + 40.1)) == []
    assert refused(made.tick(NOW + 69)) == []
    assert refused(made.tick(NOW + 71)) == ["no-replica"]


def test_a_moment_with_a_serving_replica_restarts_the_time_without_one():
    made = fleet(1, no_replica_s=30.0)
    made.distrust("0", "moved")
    made.tick(NOW)
    ask(made, [20_000], online=False)
    made.tick(NOW + 20)
    for _ in range(2):
        (sent, *_) = [*sends(made.probed("0", "", NOW + 20)), None]
    made.failed(sent.chunk, sent.replica, Failure.RESET, NOW + 20)
    made.tick(NOW + 20.1)
    assert refused(made.tick(NOW + 31)) == []
    assert refused(made.tick(NOW + 52)) == ["no-replica"]


@pytest.mark.parametrize("status", [422, 404])
def test_a_4xx_changes_no_learnt_speed(status):
    """In a former version the pool seemed three times as fast after 200 quick 422s, and a good request seemed late."""
    made = fleet(1)
    pace, rate = made.replicas["0"].pace.slowness, made.replicas["0"].tokens_per_s
    for number in range(200):
        now = NOW + number / 100
        (sent,) = ask(made, [2000], now=now)
        made.answered(sent.chunk, sent.replica, status, now + 0.001)
        made.tick(now + 0.005)
    assert (made.replicas["0"].pace.slowness, made.replicas["0"].tokens_per_s) == (pace, rate)
    assert made.rate.tokens_per_s == 0


def test_a_4xx_does_not_interrupt_failures_in_a_row():
    made = fleet(2)
    for status in (500, 422, 500, 422, 500):
        request = divisible([20], online=True, now=NOW)
        replica = made.replicas["0"]
        made._requests.open[request] = None
        made._requests.send(request, replica, NOW)
        for sent in sends(made.answered(request, replica, status, NOW)):
            made.answered(sent.chunk, sent.replica, 200, NOW)
    assert made.replicas["0"].state is ReplicaState.EJECTED


def test_a_request_without_inference_changes_no_learnt_speed():
    made = fleet(1)
    before = made.replicas["0"].pace.slowness
    for number in range(100):
        request = divisible([2000], online=True, now=NOW + number)
        request.is_inference = False
        made.answered(request, made.assign(request, NOW + number), 200, NOW + number + 0.001)
    assert made.replicas["0"].pace.slowness == before


def test_a_late_answer_is_timed_from_its_own_send_and_not_from_the_copys():
    made = fleet(2)
    (asked,) = ask(made, [2000])
    (copy,) = sends(made.tick(NOW + 2))
    made.answered(asked.chunk, asked.replica, 200, NOW + 2.001)
    assert copy.replica is not asked.replica
    (later,) = ask(made, [1], now=NOW + 60)
    made.answered(later.chunk, later.replica, 200, NOW + 61)
    assert asked.replica.pace.slowness >= 1.0


@pytest.mark.parametrize("how", [429, Failure.REFUSED])
def test_a_repeated_send_earns_no_budget(how):
    made = fleet(2)
    (sent,) = ask(made, [1000])
    for number in range(20):
        now = NOW + number
        if isinstance(how, Failure):
            commands = made.failed(sent.chunk, sent.replica, how, now)
        else:
            ask(made, [1], now=now)  # so that the 429 is not relayed
            commands = made.answered(sent.chunk, sent.replica, how, now)
        for name in made.replicas:
            for _ in range(2):
                commands += made.probed(name, "", now + 0.5)
        found = [one for one in sends(commands) if one.chunk is sent.chunk]
        if not found:
            found = [one for one in sends(made.tick(now + 0.9)) if one.chunk is sent.chunk]
        (sent,) = found
    assert made._requests.sent_tokens <= 1000 + 20


def test_bulk_gets_a_chunk_every_two_seconds_however_much_online_work_there_is():
    """In a former version two clients without pauses kept bulk work from starting for 120 simulated seconds."""
    made = fleet(1)
    running = [*ask(made, [2000]), *ask(made, [2000])]
    bulk = divisible([500] * 400, online=False, now=NOW)
    assert made.arrived(bulk, NOW) == []
    begun = []
    for step in range(1, 1001):
        now = NOW + step * 0.02
        done = running.pop(0)
        commands = made.answered(done.chunk, done.replica, 200, now) or []
        running += [*sends(commands), *ask(made, [2000], now=now)]
        running += sends(made.tick(now))
        begun += [now for send in running if not send.chunk.is_online and send.chunk.sent_at == now]
    assert 5 <= len(begun) <= 10, "one chunk per two seconds and the time that it takes"
    replica = made.replicas["0"]
    assert max(send.chunk.tokens for send in running) <= 1.25 * replica.chunk_tokens


def test_a_429_of_a_replica_with_other_work_is_not_relayed():
    made = fleet(1)
    (other,), (refused,) = ask(made, [20]), ask(made, [20])
    assert made.answered(refused.chunk, refused.replica, 429, NOW) == []
    (again,) = sends(made.answered(other.chunk, other.replica, 200, NOW))
    assert again.chunk is refused.chunk


def test_any_sign_of_life_restarts_the_allowed_silence():
    made = fleet(2)
    sent = [ask(made, [20])[0] for _ in range(3)]
    hung, answered = (send for send in sent if send.replica is sent[0].replica)
    made.answered(answered.chunk, answered.replica, 200, NOW + 0.15)
    made.answered(sent[1].chunk, sent[1].replica, 200, NOW + 0.15)
    made.tick(NOW + 0.30)
    assert hung.replica.state is ReplicaState.ACTIVE
    made.tick(NOW + 0.40)
    assert hung.replica.state is ReplicaState.SUSPECT


def test_a_suspect_replica_without_work_is_probed_and_serves_again():
    """Another replica answered its chunk, which was then cancelled here, so only a probe can show that it lives."""
    made = fleet(2)
    (asked,) = ask(made, [20])
    silent = asked.replica
    (other,) = (replica for replica in made.replicas.values() if replica is not silent)
    commands = made.tick(NOW + 1)
    (copy,) = sends(commands)
    assert (silent.state, copy.replica) == (ReplicaState.SUSPECT, other)
    made.answered(copy.chunk, other, 200, NOW + 1)
    assert not silent.chunks
    assert Probe(silent) in commands
    made.probed(silent.id, "", NOW + 2)
    assert silent.state is ReplicaState.ACTIVE


def test_bulk_work_alone_is_sent_a_batch_ahead_in_calls_of_several_requests():
    """Sent just in time, each call of short texts was a batch of its own at a replica that forms batches ahead."""
    made = fleet(1)
    ask(made, [40] * 400, online=False)
    held = made.replicas["0"].tokens
    sent = [one for _ in range(4) for one in ask(made, [40] * 100, online=False)]
    assert len({send.chunk.request for send in sent}) == 2
    assert made.replicas["0"].tokens >= held + 4000


def test_bulk_work_makes_way_for_online_work_and_is_sent_just_in_time():
    made = fleet(1)
    ask(made, [20])
    ask(made, [40] * 400, online=False)
    held = made.replicas["0"].tokens
    assert [one for _ in range(4) for one in ask(made, [40] * 100, online=False)] == []
    assert made.replicas["0"].tokens == held


def test_a_replica_that_joins_others_starts_slowly_and_a_new_fleet_does_not():
    """With a whole fleet in slow start, a load of 95 % built a queue in 10 s that took minutes to shrink."""
    made = Dispatcher(DispatchLimits())
    made.set_members(["0", "1"], NOW)
    for at, name in ((NOW, "0"), (NOW + 5, "1")):
        made.probed(name, "", at, Capabilities())
    assert [replica.window for replica in made.replicas.values()] == [made.replicas["0"].widest] * 2
    later = NOW + 5 + made.limits.slow_start_s
    made.set_members(["0", "1", "2"], later)
    made.probed("2", "", later, Capabilities())
    joined = made.replicas["2"]
    assert joined.window < joined.widest
    made.tick(later + made.limits.slow_start_s)
    assert joined.window == joined.widest
