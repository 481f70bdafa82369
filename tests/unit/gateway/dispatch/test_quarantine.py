"""Trials of accused chunks, one rule per test; tests/properties has events in any order."""

from itertools import count

from embedfleet.errors import QueryOfDeath
from embedfleet.gateway.dispatch.commands import Failure, Refuse, Relay, Send, Separate
from embedfleet.gateway.dispatch.text_records import Standing, TextRecords
from tests.properties.twins import divisible
from tests.unit.gateway.dispatch.test_sending import NOW, fleet, sends

NUMBERS = count(1)


def ask(made, costs, now=NOW):
    """Dispatch a request that equals no other; return what is sent at once."""
    request = divisible(costs, online=True, now=now, number=next(NUMBERS))
    replica = made.assign(request, now)
    return [Send(request, replica)] if replica is not None else sends(made.arrived(request, now))


def die(made, name, now=NOW):
    """Let a replica die with all its chunks; return the commands that follow."""
    replica = made.replicas[name]
    return [one for chunk in list(replica.chunks) for one in made.failed(chunk, replica, Failure.RESET, now)]


def come_back(made, *names, now):
    """Let ejected replicas pass the probes that they need; return the sends that follow."""
    commands = []
    for name in names:
        for _ in range(2):
            commands += made.probed(name, "", now)
    return sends(commands)


def answer_all(made, found, now):
    """Answer each chunk that is sent, until none is; return the number of answers, and the most chunks at once."""
    answered, most = 0, len(found)
    while found:
        sent = found.pop(0)
        commands = made.answered(sent.chunk, sent.replica, 200, now)
        answered += 1
        found += sends(commands)
        most = max(most, len(found))
    return answered, most


def test_the_chunks_of_a_dead_replica_are_tried_alone_one_after_the_other():
    made = fleet(3)
    first = [ask(made, [20])[0] for _ in range(9)]
    name = first[0].replica.id
    lost = {send.chunk for send in first if send.replica.id == name}
    for send in first:
        if send.replica.id != name:
            made.answered(send.chunk, send.replica, 200, NOW)
    (trial,) = sends(die(made, name))
    tried = []
    while trial is not None:
        assert list(trial.replica.chunks) == [trial.chunk]
        assert trial.replica.id != name
        assert all(send.replica is not trial.replica for send in ask(made, [10])), "nothing is sent beside a trial"
        tried.append(trial.chunk)
        commands = made.answered(trial.chunk, trial.replica, 200, NOW)
        trial = next(iter(sends(commands)), None)
    assert set(tried) == lost
    assert made.quarantine.cell is None


def test_the_death_of_all_replicas_convicts_no_request_and_causes_no_storm():
    """All replicas die at once, and return after 30 s: each request is tried, one at a time, and answered."""
    made = fleet(4)
    many = sum(len(ask(made, [20])) for _ in range(100))
    commands = [one for name in made.replicas for one in die(made, name)]
    assert sends(commands) == []
    assert not any(isinstance(one, Refuse) for one in commands)
    made.tick(NOW + 30)
    found = come_back(made, "0", "1", "2", "3", now=NOW + 30)
    answered, most = answer_all(made, found, NOW + 30)
    assert (answered, most, made.under_way) == (many, 1, 0)


def test_the_last_replica_is_not_risked_until_another_is_back():
    made = fleet(2)
    (sent,) = ask(made, [20])
    assert sends(die(made, sent.replica.id)) == []
    other = next(name for name in made.replicas if name != sent.replica.id)
    (beside,) = ask(made, [10])
    assert beside.replica.id == other, "it serves all other requests"
    assert come_back(made, sent.replica.id, now=NOW) == [], "the replica for the trial is emptied first"
    (trial,) = sends(made.answered(beside.chunk, beside.replica, 200, NOW))
    assert (trial.chunk, trial.replica.id) == (sent.chunk, other)


def test_the_only_replica_of_a_pool_has_to_be_risked():
    made = fleet(1)
    (sent,) = ask(made, [20])
    assert sends(die(made, "0")) == []
    (trial,) = come_back(made, "0", now=NOW)
    assert trial.chunk is sent.chunk
    (refused,) = die(made, "0")
    assert isinstance(refused.error, QueryOfDeath)


def test_a_drained_replica_does_not_count_as_down():
    made = fleet(2)
    made.drain("1")
    (sent,) = ask(made, [20])
    die(made, "0")
    (trial,) = come_back(made, "0", now=NOW)
    assert trial.chunk is sent.chunk


def test_an_equal_request_is_refused_without_a_death_but_no_other_is():
    made = fleet(4)
    (sent,) = ask(made, [20])
    (trial,) = sends(die(made, sent.replica.id))
    (refused,) = die(made, trial.replica.id)
    assert isinstance(refused, Refuse)
    again = divisible([20], online=True, now=NOW, number=sent.chunk.handle.number)
    assert made.assign(again, NOW) is None
    (refused,) = made.arrived(again, NOW)
    assert isinstance(refused.error, QueryOfDeath)
    assert len(ask(made, [20])) == 1, "a request with another text is sent"


def test_equal_requests_wait_for_the_trial_of_the_first():
    made = fleet(4)
    asked = [divisible([20], online=True, now=NOW, number=-7) for _ in range(5)]
    for one in asked:
        made.assign(one, NOW)
    replica = made.replicas[asked[0].replica_id]
    for other in [one for one in made.replicas.values() if one is not replica]:
        for chunk in list(other.chunks):
            made.answered(chunk, other, 200, NOW)
    (trial,) = sends(die(made, replica.id))
    more = divisible([20], online=True, now=NOW, number=-7)
    assert made.assign(more, NOW) is None
    assert made.arrived(more, NOW) == []
    commands = die(made, trial.replica.id)
    assert {type(one) for one in commands} == {Refuse}
    assert more.is_over


def test_a_hung_trial_does_not_hold_up_the_next():
    made = fleet(4)
    asked = [ask(made, [20])[0] for _ in range(8)]
    name = asked[0].replica.id
    for send in asked:
        if send.replica.id != name:
            made.answered(send.chunk, send.replica, 200, NOW)
    (hung,) = sends(die(made, name))
    later = sends(made.tick(NOW + 5))
    assert [send.chunk.is_on_trial for send in later] == [True]
    assert later[0].replica is not hung.replica
    refused = made.failed(hung.chunk, hung.replica, Failure.TIMED_OUT, NOW + 6)
    assert any(isinstance(one, Refuse) and one.request is hung.chunk for one in refused)


def test_an_answer_of_any_kind_acquits():
    made = fleet(3)
    (sent,) = ask(made, [20])
    (trial,) = sends(die(made, sent.replica.id))
    assert any(isinstance(one, Relay) for one in made.answered(trial.chunk, trial.replica, 422, NOW))
    assert made.quarantine.acquitted == 1
    assert len(ask(made, [20])) == 1


def test_a_trial_that_the_replica_refuses_decides_nothing():
    made = fleet(3)
    (sent,) = ask(made, [20])
    (trial,) = sends(die(made, sent.replica.id))
    assert made.failed(trial.chunk, trial.replica, Failure.REFUSED, NOW) == [], (
        "only one replica is left, and is not risked"
    )
    assert not trial.chunk.is_over


def test_records_are_forgotten_and_limited_in_number():
    verdicts = TextRecords(10.0)
    verdicts.accuse([1, 2], "a", 0.0)
    verdicts.convict([1, 2], "a", 0.0)
    assert verdicts.of([2, 1], 1.0) is Standing.ACCUSED, "the same texts in another order are another request"
    assert verdicts.of([1, 2], 1.0) is Standing.GUILTY
    verdicts.expire(10.5)
    assert verdicts.of([1, 2], 10.5) is Standing.GUILTY, "each request renews the record"
    verdicts.expire(30.0)
    assert len(verdicts.known) == 0
    verdicts.accuse(range(100_000), "a", 40.0)
    assert len(verdicts.known) == 65_536
    assert verdicts.of([99_999], 40.0) is Standing.ACCUSED


def test_a_conviction_is_not_undone_by_an_acquittal():
    verdicts = TextRecords(10.0)
    verdicts.convict([1], "a", 0.0)
    verdicts.acquit([1])
    assert verdicts.of([1], 0.0) is Standing.GUILTY


def test_a_death_some_seconds_after_a_client_left_accuses_its_request():
    """In a former version four such requests, whose clients left 10 s before a death, killed six replicas."""
    made = fleet(3)
    (asked,) = ask(made, [20])
    made.left(asked.chunk.request, NOW + 0.5)
    made.doubt(asked.replica.id, NOW + 11)
    made.probed(asked.replica.id, "refused", NOW + 11)
    again = divisible([20], online=True, now=NOW + 12, number=asked.chunk.request.handle.number)
    assert made.assign(again, NOW + 12) is None
    (trial,) = sends(made.arrived(again, NOW + 12))
    assert trial.chunk.is_on_trial


def hang_and_fail_the_probe(made, name, now):
    """Let a replica with work stay silent, and fail its probe; return the commands that follow."""
    made.tick(now)
    return made.probed(name, "no answer in time", now + 5)


def test_a_text_that_hung_a_replica_is_tried_alone_when_it_is_sent_again():
    """In a former version such a text hung one replica after the other, each time that it was sent."""
    made = fleet(3, hedge=False)
    (asked,) = ask(made, [20])
    hang_and_fail_the_probe(made, asked.replica.id, NOW + 1)
    again = divisible([20], online=True, now=NOW + 7, number=asked.chunk.request.handle.number)
    assert made.assign(again, NOW + 7) is None
    (trial,) = sends(made.arrived(again, NOW + 7))
    assert trial.chunk.is_on_trial
    assert trial.replica is not asked.replica
    (refusal,) = made.failed(trial.chunk, trial.replica, Failure.TIMED_OUT, NOW + 60)
    assert isinstance(refusal.error, QueryOfDeath)


def test_a_shared_request_that_hung_a_replica_is_separated():
    """If all were tried together, all would be refused for the text of one client."""
    made = fleet(3, hedge=False)
    shared = divisible([20, 20], online=True, now=NOW, number=next(NUMBERS))
    shared.is_shared = True
    replica = made.assign(shared, NOW)
    commands = hang_and_fail_the_probe(made, replica.id, NOW + 1)
    assert Separate(shared) in commands
    assert sends(commands) == []
    alone = divisible([20], online=True, now=NOW + 7, number=shared.handle.number)
    assert made.assign(alone, NOW + 7) is None
    (trial,) = sends(made.arrived(alone, NOW + 7))
    assert trial.chunk.is_on_trial


def test_a_chunk_that_another_replica_answers_after_a_hang_is_acquitted():
    made = fleet(3)
    (asked,) = ask(made, [20])
    (copy,) = sends(made.tick(NOW + 1))
    hang_and_fail_the_probe(made, asked.replica.id, NOW + 1.1)
    made.answered(asked.chunk, copy.replica, 200, NOW + 7)
    assert made.remembered == 0
    assert made.under_way == 0
