"""A modelled replica compared with timelines that were computed by hand.

A batch costs 1 s plus 10 ms per token, and has at most 100 tokens.
"""

import pytest

from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.replica import NETWORK_S, OK, REFUSED, RESET, THROTTLED, SimCall, SimReplica

COST = BatchCost(a_s=1.0, b_s=0.01, batch_tokens=100)


class Scene:
    """A replica, and the status and time of each reply, without the network delay."""

    def __init__(self, *, ahead=False, cost=COST, **given):
        self.clock = Clock()
        self.replica = SimReplica(self.clock, cost, ahead=ahead, **given)
        self.calls: list[SimCall] = []
        self.heard: dict[int, tuple[int, float]] = {}

    def send(self, at: float, *tokens: int) -> int:
        number = len(self.calls)
        call = SimCall(tokens, lambda status: self.hear(number, status))
        self.calls.append(call)
        self.clock.at(at, lambda: self.replica.send(call))
        return number

    def hear(self, number: int, status: int) -> None:
        assert number not in self.heard
        self.heard[number] = status, round(self.clock.now - 2 * NETWORK_S, 6)

    def cancel(self, at: float, number: int) -> None:
        self.clock.at(at, lambda: self.replica.cancel(self.calls[number]))

    def run(self) -> list[tuple[int, float]]:
        self.clock.run(1000)
        return [self.heard[number] for number in sorted(self.heard)]


def test_a_batch_takes_waiting_texts_in_order_while_they_fit():
    scene = Scene()
    for at, tokens in ((0, 10), (0.1, 60), (0.2, 50), (0.3, 30)):
        scene.send(at, tokens)
    # The third does not fit beside the second; the fourth would fit, but does not overtake the third.
    assert scene.run() == [(OK, 1.1), (OK, 2.7), (OK, 4.5), (OK, 4.5)]


def test_a_batch_that_was_formed_ahead_is_not_joined():
    scene = Scene(ahead=True)
    for at, tokens in ((0, 10), (0.1, 10), (0.2, 10)):
        scene.send(at, tokens)
    assert scene.run() == [(OK, 1.1), (OK, 2.2), (OK, 3.3)]


def test_a_request_is_answered_when_its_last_text_is_done():
    scene = Scene()
    scene.send(0, 90, 20)
    scene.send(0.1, 50)
    assert scene.run() == [(OK, 3.6), (OK, 3.6)]


def test_a_text_that_is_larger_than_a_batch_runs_alone():
    scene = Scene()
    scene.send(0, 300, 10)
    assert scene.run() == [(OK, 5.1)]


def test_padded_texts_cost_what_the_longest_does():
    scene = Scene(cost=BatchCost(1.0, 0.01, 100, padded=True))
    scene.send(0, 40, 10)
    scene.send(0.1, 10, 60)
    # 2 x 60 is over 100: the second request's texts run one after the other.
    assert scene.run() == [(OK, 1.8), (OK, 4.5)]
    assert (scene.replica.tokens, scene.replica.work) == (120, 150)


def test_a_slow_replica_takes_longer_for_every_batch():
    scene = Scene(slowness=2.0)
    scene.send(0, 50)
    assert scene.run() == [(OK, 3.0)]


def test_permits_are_taken_whole_or_not_at_all():
    scene = Scene(permits=3)
    scene.send(0, 10, 10)
    scene.send(0.1, 10, 10)
    scene.send(0.2, 10)
    assert [status for status, _ in scene.run()] == [OK, THROTTLED, OK]


def test_permits_are_given_back_text_by_text():
    scene = Scene(permits=2)
    scene.send(0, 60, 60)
    scene.send(1.5, 10)  # one of two permits is still held
    scene.send(1.7, 10)  # the first text was done at 1.6
    assert [status for status, _ in scene.run()] == [OK, THROTTLED, OK]


def test_cancelled_texts_are_not_computed_and_free_their_permits_at_once():
    scene = Scene(permits=3)
    for at in (0, 0.1, 0.2):
        scene.send(at, 50)
    scene.cancel(0.5, 1)
    scene.cancel(0.5, 2)
    scene.send(0.6, 20, 20)
    assert scene.run() == [(OK, 1.5), (OK, 2.9)]
    assert scene.replica.tokens == 90


def test_a_computed_text_frees_its_permit_once_even_if_the_rest_is_cancelled():
    scene = Scene(permits=2)
    scene.send(0, 60, 60)
    scene.cancel(2.0, 0)  # the first was done at 1.6
    scene.send(2.1, 10, 10, 10)
    assert scene.run() == [(THROTTLED, 2.1)]


def test_a_text_in_a_batch_is_computed_although_its_client_has_left():
    scene = Scene()
    scene.send(0, 50)
    scene.cancel(0.5, 0)
    scene.send(0.6, 50)
    assert scene.run() == [(OK, 3.0)]
    assert scene.replica.tokens == 100


@pytest.mark.parametrize("ahead", [False, True])
def test_a_stop_delays_the_running_batch_by_its_length(ahead):
    scene = Scene(ahead=ahead)
    scene.send(0, 50)
    scene.clock.at(0.5, lambda: scene.replica.stop(2))
    scene.send(1.0, 50)
    assert scene.run() == [(OK, 3.5), (OK, 5.0)]


def test_stops_that_overlap_are_one():
    scene = Scene()
    scene.send(0, 50)
    scene.clock.at(0.5, lambda: scene.replica.stop(2))
    scene.clock.at(1.5, lambda: scene.replica.stop(2))
    assert scene.run() == [(OK, 4.5)]


def test_a_request_to_an_idle_stopped_replica_waits():
    scene = Scene()
    scene.clock.at(0, lambda: scene.replica.stop(2))
    scene.send(1.0, 50)
    assert scene.run() == [(OK, round(2 + 1.5 - NETWORK_S, 6))]  # it had arrived before the replica went on


def test_while_it_stands_still_it_refuses_nothing():
    scene = Scene(permits=1)
    scene.clock.at(0, lambda: scene.replica.stop(2))
    scene.send(1.0, 50)
    scene.send(1.0, 50)
    assert [status for status, _ in scene.run()] == [OK, THROTTLED]
    assert scene.heard[1][1] >= 2 - NETWORK_S


def test_a_crash_resets_open_requests_and_refuses_new_ones_until_the_replica_is_back():
    scene = Scene(ahead=True, permits=4)
    for at in (0, 0.1, 0.2):
        scene.send(at, 50)
    scene.clock.at(1.0, lambda: scene.replica.crash(5))
    scene.send(3.0, 50)
    scene.send(7.0, 10, 10, 10, 10)
    statuses = [status for status, _ in scene.run()]
    assert statuses == [RESET, RESET, RESET, REFUSED, OK]


def test_a_throttled_replica_answers_429():
    scene = Scene()
    scene.clock.at(1.0, lambda: scene.replica.throttle(2))
    scene.send(0, 50)
    scene.send(2.0, 50)
    scene.send(3.5, 50)
    assert [status for status, _ in scene.run()] == [OK, THROTTLED, OK]
