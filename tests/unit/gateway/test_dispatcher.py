"""The dispatcher's table, row by row."""

import pytest

from embedfleet.errors import BadGateway, Overloaded, Unhealthy
from embedfleet.gateway.dispatcher import (
    DispatchLimits,
    Failure,
    Forget,
    Probe,
    Refuse,
    Relay,
    Send,
)
from embedfleet.gateway.replica import State
from tests.services.numbered import NumberedDispatcher

NOW = 1000.0


def serving(*names: str, **limits) -> NumberedDispatcher:
    """A dispatcher whose replicas have all passed a probe."""
    dispatcher = NumberedDispatcher(DispatchLimits(**limits))
    dispatcher.set_members(list(names), NOW)
    for name in names:
        dispatcher.probed(name, "", NOW)
    return dispatcher


def send(commands) -> str:
    (command,) = commands
    assert isinstance(command, Send)
    return command.replica


def test_a_new_replica_is_probed_and_gets_nothing_before_it_has_inferred():
    dispatcher = NumberedDispatcher()
    assert dispatcher.set_members(["a"], NOW) == [Probe("a")]
    assert dispatcher.arrived(1, 100, NOW) == []
    assert dispatcher.probed("a", "", NOW) == [Send(1, "a")]


def test_the_replica_with_the_fewest_outstanding_tokens_is_chosen():
    dispatcher = serving("a", "b")
    heavy = send(dispatcher.arrived(1, 10_000, NOW))
    light = send(dispatcher.arrived(2, 100, NOW))
    assert {heavy, light} == {"a", "b"}
    assert [send(dispatcher.arrived(n, 100, NOW)) for n in range(3, 8)] == [light] * 5


def test_equal_replicas_take_turns():
    dispatcher = serving("a", "b")
    chosen = []
    for number in range(6):
        chosen.append(send(dispatcher.arrived(number, 100, NOW)))
        dispatcher.answered(number, 200, NOW)
    assert chosen.count("a") == chosen.count("b") == 3


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 413, 422])
def test_a_final_answer_is_relayed(status):
    dispatcher = serving("a")
    dispatcher.arrived(1, 100, NOW)
    assert dispatcher.answered(1, status, NOW) == [Relay(1)]


@pytest.mark.parametrize("status", [424, 500, 502, 503, 504])
def test_a_failed_answer_is_asked_of_another_and_relayed_when_both_say_it(status):
    dispatcher = serving("a", "b")
    first = send(dispatcher.arrived(1, 100, NOW))
    second = send(dispatcher.answered(1, status, NOW))
    assert first != second
    assert dispatcher.answered(1, status, NOW) == [Relay(1)]


def test_failed_answers_in_a_row_eject_and_a_good_one_forgives():
    dispatcher = serving("a", failures=3)
    for number, status in enumerate([424, 424, 200, 424, 424]):
        dispatcher.arrived(number, 100, NOW)
        dispatcher.answered(number, status, NOW)
    assert dispatcher.replicas["a"].state is State.ACTIVE
    dispatcher.arrived(9, 100, NOW)
    dispatcher.answered(9, 424, NOW)
    assert dispatcher.replicas["a"].state is State.EJECTED
    assert "424" in dispatcher.replicas["a"].reason


@pytest.mark.parametrize("failure", Failure)
def test_a_replica_that_does_not_answer_is_ejected_and_the_request_goes_elsewhere(failure):
    dispatcher = serving("a", "b")
    first = send(dispatcher.arrived(1, 100, NOW))
    second = send(dispatcher.failed(1, failure, NOW))
    assert first != second
    assert dispatcher.replicas[first].state is State.EJECTED


def test_after_the_last_send_the_client_gets_502_with_the_reason():
    dispatcher = serving("a", "b", "c", sends=3)
    dispatcher.arrived(1, 100, NOW)
    dispatcher.failed(1, Failure.RESET, NOW)
    dispatcher.failed(1, Failure.RESET, NOW)
    (command,) = dispatcher.failed(1, Failure.TIMED_OUT, NOW)
    assert isinstance(command, Refuse)
    assert isinstance(command.error, BadGateway)
    assert "timed_out" in str(command.error)


def test_a_refused_connection_is_no_send():
    dispatcher = serving("a", "b", "c", "d", sends=1)
    dispatcher.arrived(1, 100, NOW)
    dispatcher.failed(1, Failure.REFUSED, NOW)
    dispatcher.failed(1, Failure.REFUSED, NOW)
    assert isinstance(dispatcher.failed(1, Failure.REFUSED, NOW)[0], Send)


def test_a_request_waits_for_a_replica_that_comes_back():
    dispatcher = serving("a")
    dispatcher.arrived(1, 100, NOW)
    assert dispatcher.failed(1, Failure.RESET, NOW) == []
    assert Probe("a") in dispatcher.tick(NOW + 1)
    assert dispatcher.probed("a", "", NOW + 1) == [Send(1, "a")]


def test_with_no_replica_for_too_long_the_client_gets_503():
    dispatcher = NumberedDispatcher(DispatchLimits(queue_timeout_s=5))
    dispatcher.arrived(1, 100, NOW)
    assert dispatcher.tick(NOW + 4.9) == []
    (command,) = dispatcher.tick(NOW + 5.1)
    assert isinstance(command.error, Unhealthy)


def test_a_429_goes_elsewhere_and_the_replica_rests():
    dispatcher = serving("a", "b")
    busy = send(dispatcher.arrived(1, 100, NOW))
    other = send(dispatcher.arrived(2, 100, NOW))
    assert send(dispatcher.arrived(3, 100, NOW)) == busy
    assert send(dispatcher.answered(3, 429, NOW)) == other
    assert send(dispatcher.arrived(4, 100, NOW)) == other
    assert dispatcher.replicas[busy].state is State.ACTIVE
    dispatcher.tick(NOW + 1)
    assert send(dispatcher.arrived(5, 100, NOW + 1)) == busy


def test_a_429_for_the_only_request_is_the_requests_own_fault():
    dispatcher = serving("a")
    dispatcher.arrived(1, 100, NOW)
    assert dispatcher.answered(1, 429, NOW) == [Relay(1)]


def test_a_full_queue_sheds_with_retry_after_from_the_measured_rate():
    dispatcher = serving("a", requests_per_replica=1, queue_requests=2)
    dispatcher.estimate.ratio = 1.0
    dispatcher.arrived(0, 1000, NOW)
    dispatcher.tick(NOW)
    dispatcher.answered(0, 200, NOW, 1000)
    dispatcher.tick(NOW + 2)  # 1000 tokens in 2 s
    dispatcher.estimate.ratio = 1.0
    for number in range(1, 4):
        dispatcher.arrived(number, 1000, NOW + 2)
    (command,) = dispatcher.arrived(4, 1000, NOW + 2)
    assert isinstance(command.error, Overloaded)
    assert command.error.retry_after_s == 4  # 2000 tokens wait


def test_the_queue_is_bounded_in_bytes():
    dispatcher = NumberedDispatcher(DispatchLimits(queue_bytes=1000))
    assert dispatcher.arrived(1, 900, NOW) == []
    (command,) = dispatcher.arrived(2, 101, NOW)
    assert isinstance(command, Refuse)


def test_a_leaving_client_makes_room():
    dispatcher = serving("a", requests_per_replica=1)
    dispatcher.arrived(1, 100, NOW)
    dispatcher.arrived(2, 100, NOW)
    assert dispatcher.left(1, NOW) == [Send(2, "a")]
    assert dispatcher.left(1, NOW) == []


def test_a_draining_replica_finishes_what_it_has_and_goes():
    dispatcher = serving("a", "b")
    first = send(dispatcher.arrived(1, 100, NOW))
    other = "b" if first == "a" else "a"
    assert dispatcher.set_members([other], NOW) == []
    assert send(dispatcher.arrived(2, 100, NOW)) == other
    assert dispatcher.answered(1, 200, NOW) == [Relay(1), Forget(first)]
    assert list(dispatcher.replicas) == [other]


def test_an_idle_replica_that_leaves_is_forgotten_at_once():
    assert serving("a").set_members([], NOW) == [Forget("a")]


def test_a_quiet_replica_is_probed_one_probe_at_a_time():
    dispatcher = serving("a", probe_interval_s=5)
    assert dispatcher.tick(NOW + 4) == []
    assert dispatcher.tick(NOW + 6) == [Probe("a")]
    assert dispatcher.tick(NOW + 60) == []
    dispatcher.probed("a", "", NOW + 60)
    assert dispatcher.tick(NOW + 66) == [Probe("a")]


def test_probes_of_a_failed_replica_back_off():
    dispatcher = serving("a", probe_retry_s=(1.0, 4.0))
    dispatcher.probed("a", "no answer", NOW)
    waits, now = [], NOW
    for _ in range(5):
        started = now
        while Probe("a") not in dispatcher.tick(now):
            now += 0.5
        waits.append(now - started)
        dispatcher.probed("a", "no answer", now)
    assert waits == [1.0, 1.0, 2.0, 4.0, 4.0]


def test_replies_teach_tokens_per_byte():
    dispatcher = serving("a")
    for number in range(200):
        dispatcher.arrived(number, 1000, NOW)
        dispatcher.answered(number, 200, NOW, 500)
    assert dispatcher.estimate.tokens(1000) == pytest.approx(500, abs=5)


def test_a_replica_that_leaves_during_a_probe_is_forgotten_when_the_probe_is_over():
    dispatcher = NumberedDispatcher()
    dispatcher.set_members(["a"], NOW)
    assert dispatcher.set_members([], NOW) == []
    assert dispatcher.probed("a", "", NOW) == [Forget("a")]


def test_a_distrusted_replica_gets_nothing_until_it_has_inferred_again():
    dispatcher = serving("a", "b")
    dispatcher.distrust("a", "moved", NOW)
    assert [send(dispatcher.arrived(n, 100, NOW)) for n in range(3)] == ["b"] * 3
    assert Probe("a") in dispatcher.tick(NOW + 1)
    dispatcher.probed("a", "", NOW + 1)
    assert send(dispatcher.arrived(9, 100, NOW + 1)) == "a"
