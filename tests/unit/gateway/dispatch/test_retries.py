"""Unusable answers of live replicas: whether the replica or the text is at fault."""

import pytest

from embedfleet.errors import BadGateway, Unanswerable
from embedfleet.gateway.dispatch.commands import Failure, Probe, Refuse, Send
from embedfleet.gateway.dispatch.text_records import UNANSWERABLE_S
from embedfleet.types import ReplicaState
from tests.properties.twins import divisible
from tests.unit.gateway.dispatch.test_sending import NOW, fleet, sends


def ask(made, number, now=NOW, tokens=20):
    """Dispatch a request for a text; return the commands that follow. Equal numbers mean equal texts."""
    request = divisible([tokens], online=True, now=now, number=number)
    replica = made.assign(request, now)
    return [Send(request, replica)] if replica is not None else made.arrived(request, now)


def probe_well(made, now):
    """Let all due probes succeed; return the commands that follow."""
    due = [one.replica.id for one in made.tick(now) if isinstance(one, Probe)]
    return [one for name in due for one in made.probed(name, "", now)]


def fail_everywhere(made, commands, failure, now):
    """Fail every send, and let all probes succeed; return the refusal, and the number of sends."""
    count = 0
    while not any(isinstance(one, Refuse) for one in commands):
        for sent in sends(commands):
            count += 1
            commands = made.failed(sent.chunk, sent.replica, failure, now)
            assert sent.replica.state is ReplicaState.DOUBTED, "it must infer before it gets anything new"
        commands = [*commands, *probe_well(made, now)]
    return next(one for one in commands if isinstance(one, Refuse)), count


@pytest.mark.parametrize("failure", [Failure.MALFORMED, Failure.BROKEN])
@pytest.mark.parametrize("many", [1, 2, 4])
def test_a_text_that_no_replica_can_answer_ejects_none_and_is_refused_for_a_while(many, failure):
    made = fleet(many)
    refusal, count = fail_everywhere(made, ask(made, 1), failure, NOW)
    assert (type(refusal.error), refusal.reason, count) == (BadGateway, "sends", 3)
    probe_well(made, NOW)
    assert [replica.state for replica in made.replicas.values()] == [ReplicaState.ACTIVE] * many
    for second in range(1, int(UNANSWERABLE_S)):
        (again,) = ask(made, 1, NOW + second)
        assert isinstance(again, Refuse), "further requests do not prolong the refusal"
        assert isinstance(again.error, Unanswerable)
    assert isinstance(ask(made, 2, NOW + 1)[0], Send), "other texts are not refused"
    assert isinstance(ask(made, 1, NOW + UNANSWERABLE_S + 1)[0], Send), "the replicas may have recovered"


def test_a_text_that_a_single_replica_failed_each_time_is_not_blamed():
    made = fleet(2)
    made.drain("1")
    refusal, _ = fail_everywhere(made, ask(made, 1), Failure.MALFORMED, NOW)
    assert refusal.reason == "sends"
    assert isinstance(ask(made, 1)[0], Send)


def test_a_replica_with_good_probes_is_ejected_when_another_answers_its_chunk():
    made = fleet(2)
    (asked,) = ask(made, 1)
    (elsewhere,) = sends(made.failed(asked.chunk, asked.replica, Failure.MALFORMED, NOW))
    probe_well(made, NOW)
    assert asked.replica.state is ReplicaState.ACTIVE
    made.answered(elsewhere.chunk, elsewhere.replica, 200, NOW)
    assert asked.replica.state is ReplicaState.EJECTED
    assert "others answered what it failed" in asked.replica.reason


@pytest.mark.parametrize("status", [424, 500, 503])
def test_texts_that_every_replica_answers_with_an_error_eject_none(status):
    made = fleet(2)
    for number in range(20):
        now = NOW + number
        commands = ask(made, number, now)
        while sent := sends(commands):
            commands = made.answered(sent[0].chunk, sent[0].replica, status, now)
            commands = [*(commands or ()), *probe_well(made, now)]
        assert [replica.state for replica in made.replicas.values()] == [ReplicaState.ACTIVE] * 2


def test_errors_in_a_row_eject_a_replica_if_another_answers():
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
def test_a_replica_that_refuses_every_request_is_probed(reason, state):
    made = fleet(1)
    replica = made.replicas["0"]
    for number in range(16):
        (sent,) = ask(made, number)
        assert not any(isinstance(one, Probe) for one in made.tick(NOW + number / 10))
        made.answered(sent.chunk, replica, 404, NOW)
    assert replica.state is ReplicaState.ACTIVE, "it serves meanwhile: all the requests may have been invalid"
    assert made.tick(NOW + 2) == [Probe(replica)]
    made.probed("0", reason, NOW + 2)
    assert replica.state is state
    assert not made.tick(NOW + 2.1)


def test_chunks_that_hang_alone_do_not_fill_the_window():
    """In a former version 24 unanswered requests filled the windows of replicas that answered all others."""
    made = fleet(1, hedge=False)
    replica = made.replicas["0"]
    hung = [one for number in range(40) for one in sends(ask(made, number, tokens=2000))]
    assert not sends(ask(made, 100)), "the window is full"
    now = NOW + 60
    replica.heard_at = now
    after = sends(made.tick(now))
    assert after, "waiting chunks are sent"
    assert replica.tokens == sum(one.chunk.tokens for one in after)
    made.failed(hung[0].chunk, replica, Failure.TIMED_OUT, now)
    assert replica.state is ReplicaState.DOUBTED, "it answered others meanwhile, so only that request hung"
    assert replica.tokens == sum(one.chunk.tokens for one in after)
