"""Whose fault it is that a replica which lives gives nothing that can be used: its own, or the text's."""

import pytest

from embedfleet.errors import BadGateway, Unanswerable
from embedfleet.gateway.dispatch.commands import Failure, Probe, Refuse, Send
from embedfleet.gateway.dispatch.text_records import UNANSWERABLE_S
from embedfleet.types import ReplicaState
from tests.properties.twins import divisible
from tests.unit.gateway.dispatch.test_sending import NOW, fleet, sends


def ask(made, number, now=NOW, tokens=20):
    """What follows when a text is asked for; the same number is the same text."""
    request = divisible([tokens], online=True, now=now, number=number)
    replica = made.assign(request, now)
    return [Send(request, replica)] if replica is not None else made.arrived(request, now)


def probe_well(made, now):
    """Each replica that is asked to infer does; what follows."""
    due = [one.replica.id for one in made.tick(now) if isinstance(one, Probe)]
    return [one for name in due for one in made.probed(name, "", now)]


def fail_everywhere(made, commands, failure, now):
    """Nobody answers what is sent, and all infer when they are asked to; the refusal, and how often it was sent."""
    count = 0
    while not any(isinstance(one, Refuse) for one in commands):
        for sent in sends(commands):
            count += 1
            commands = made.failed(sent.chunk, sent.replica, failure, now)
            assert sent.replica.state is ReplicaState.DOUBTED, "nothing new before it has inferred"
        commands = [*commands, *probe_well(made, now)]
    return next(one for one in commands if isinstance(one, Refuse)), count


@pytest.mark.parametrize("failure", [Failure.MALFORMED, Failure.BROKEN])
@pytest.mark.parametrize("many", [1, 2, 4])
def test_what_no_replica_can_answer_takes_none_out_and_is_refused_for_a_while(many, failure):
    made = fleet(many)
    refusal, count = fail_everywhere(made, ask(made, 1), failure, NOW)
    assert (type(refusal.error), refusal.reason, count) == (BadGateway, "sends", 3)
    probe_well(made, NOW)
    assert [replica.state for replica in made.replicas.values()] == [ReplicaState.ACTIVE] * many
    for second in range(1, int(UNANSWERABLE_S)):
        (again,) = ask(made, 1, NOW + second)
        assert isinstance(again, Refuse), "to be asked for it does not make it longer"
        assert isinstance(again.error, Unanswerable)
    assert isinstance(ask(made, 2, NOW + 1)[0], Send), "another text is none of it"
    assert isinstance(ask(made, 1, NOW + UNANSWERABLE_S + 1)[0], Send), "they may have had a fault of their own"


def test_what_one_replica_failed_each_time_is_not_to_blame():
    made = fleet(2)
    made.drain("1")
    refusal, _ = fail_everywhere(made, ask(made, 1), Failure.MALFORMED, NOW)
    assert refusal.reason == "sends"
    assert isinstance(ask(made, 1)[0], Send)


def test_a_replica_whose_probes_alone_are_good_is_thrown_out_when_another_answers():
    made = fleet(2)
    (asked,) = ask(made, 1)
    (elsewhere,) = sends(made.failed(asked.chunk, asked.replica, Failure.MALFORMED, NOW))
    probe_well(made, NOW)
    assert asked.replica.state is ReplicaState.ACTIVE
    made.answered(elsewhere.chunk, elsewhere.replica, 200, NOW)
    assert asked.replica.state is ReplicaState.EJECTED
    assert "what others answered" in asked.replica.reason


@pytest.mark.parametrize("status", [424, 500, 503])
def test_texts_that_are_answered_with_errors_everywhere_take_no_replica_out(status):
    made = fleet(2)
    for number in range(20):
        now = NOW + number
        commands = ask(made, number, now)
        while sent := sends(commands):
            commands = made.answered(sent[0].chunk, sent[0].replica, status, now)
            commands = [*(commands or ()), *probe_well(made, now)]
        assert [replica.state for replica in made.replicas.values()] == [ReplicaState.ACTIVE] * 2


def test_errors_in_a_row_at_what_another_answers_take_a_replica_out():
    made = fleet(2)
    bad, good = made.replicas.values()
    for number in range(3):
        request = divisible([20], online=True, now=NOW, number=number)
        made._requests.open[request] = None
        made._requests.send(request, bad, NOW)
        (elsewhere,) = sends(made.answered(request, bad, 500, NOW))
        assert elsewhere.replica is good
        made.answered(request, good, 200, NOW)
        assert (bad.state is ReplicaState.EJECTED) == (number == 2)


@pytest.mark.parametrize(
    ("reason", "state"), [("", ReplicaState.ACTIVE), ("/embed answered 404", ReplicaState.EJECTED)]
)
def test_a_replica_that_refuses_whatever_comes_is_asked_what_it_cannot_refuse(reason, state):
    made = fleet(1)
    replica = made.replicas["0"]
    for number in range(16):
        (sent,) = ask(made, number)
        assert not any(isinstance(one, Probe) for one in made.tick(NOW + number / 10))
        made.answered(sent.chunk, replica, 404, NOW)
    assert replica.state is ReplicaState.ACTIVE, "it serves meanwhile: they may all have been wrong"
    assert made.tick(NOW + 2) == [Probe(replica)]
    made.probed("0", reason, NOW + 2)
    assert replica.state is state
    assert not made.tick(NOW + 2.1)


def test_what_hangs_alone_keeps_nobody_else_waiting():
    """24 requests that were never answered filled the windows of replicas that answered all others."""
    made = fleet(1, hedge=False)
    replica = made.replicas["0"]
    hung = [one for number in range(40) for one in sends(ask(made, number, tokens=2000))]
    assert not sends(ask(made, 100)), "the window is full"
    now = NOW + 60
    replica.heard_at = now
    after = sends(made.tick(now))
    assert after, "what waits is sent"
    assert replica.tokens == sum(one.chunk.tokens for one in after)
    made.failed(hung[0].chunk, replica, Failure.TIMED_OUT, now)
    assert replica.state is ReplicaState.DOUBTED, "it answered others meanwhile: nobody but that request hung"
    assert replica.tokens == sum(one.chunk.tokens for one in after)
