"""Bounds of the queues, and promises to those that are refused."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.gateway.dispatch.admission import Admission
from embedfleet.gateway.dispatch.estimate import DrainRate
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.promises import Promises
from embedfleet.gateway.dispatch.request import Request

RATE = 1000  # tokens per second


class Keyed(Request):
    def __init__(self, key, *, tokens=100, size_bytes=10, online=False, now=0.0):
        super().__init__(tokens=tokens, texts=1, size_bytes=size_bytes, online=online, now=now, timeout_s=1e9)
        self.name = key

    @property
    def key(self):
        return hash(self.name)


@dataclass
class Door:
    """A queue that is worked off at `RATE`."""

    admission: Admission
    waiting: float = 0.0
    now: float = 100.0

    def ask(self, request, queued_bytes=0):
        refusal = self.admission.refusal(
            request, waiting=int(self.waiting), queued_bytes=queued_bytes, tokens_per_s=RATE, now=self.now
        )
        if refusal is None:
            self.waiting += request.tokens
        return refusal

    def pass_time(self, seconds):
        self.now += seconds
        self.waiting = max(0.0, self.waiting - seconds * RATE)


@pytest.fixture
def door():
    rate = DrainRate()
    rate.measure(0.0, busy=True)
    rate.finished(RATE)
    rate.measure(1.0, busy=True)
    assert rate.tokens_per_s == RATE
    return Door(Admission(DispatchLimits(online_queue_s=1, bulk_queue_s=2, queue_bytes=1000), rate))


def test_what_comes_while_nothing_waits_is_let_in_however_large(door):
    assert door.ask(Keyed("huge", tokens=100_000)) is None


@pytest.mark.parametrize(("online", "status", "reason"), [(True, 503, "online-queue"), (False, 429, "bulk-queue")])
def test_more_than_may_wait_is_refused_until_it_is_worked_off(door, online, status, reason):
    assert door.ask(Keyed("first", tokens=3000, online=online)) is None
    refusal = door.ask(Keyed("second", tokens=500, online=online))
    assert (refusal.error.status, refusal.reason) == (status, reason)
    bound = 1000 if online else 2000
    assert refusal.error.retry_after_s == -(-(3500 - bound) // RATE)


def test_bytes_are_bounded_over_both_classes_and_a_promise_is_no_excuse(door):
    assert door.ask(Keyed("a", size_bytes=900)) is None
    refusal = door.ask(Keyed("b", size_bytes=200), queued_bytes=900)
    assert refusal is not None
    door.pass_time(refusal.error.retry_after_s)
    assert door.ask(Keyed("b", size_bytes=200), queued_bytes=900) is not None
    assert door.ask(Keyed("b", size_bytes=200), queued_bytes=800) is None


@given(
    sizes=st.lists(st.integers(1, 4000), min_size=5, max_size=60),
    gaps=st.lists(st.floats(0, 1.5), min_size=60, max_size=60),
)
def test_who_comes_again_when_told_is_let_in_and_the_queue_stays_bounded(sizes, gaps):
    rate = DrainRate()
    rate.tokens_per_s = RATE
    door = Door(Admission(DispatchLimits(bulk_queue_s=2, queue_bytes=10**9), rate))
    returning = []  # when, request
    for number, (size, gap) in enumerate(zip(sizes, gaps, strict=False)):
        until = door.now + gap
        while returning and returning[0][0] <= until:
            at, request = returning.pop(0)
            door.pass_time(max(0.0, at - door.now))
            assert door.ask(request) is None, "it did as it was told"
        door.pass_time(until - door.now)
        refusal = door.ask(Keyed(number, tokens=size))
        if refusal is not None:
            returning.append((door.now + refusal.error.retry_after_s, Keyed(number, tokens=size)))
            returning.sort(key=lambda pair: pair[0])
        assert door.waiting <= 2 * RATE + 3 * max(sizes)


def test_a_promise_is_kept_once_and_not_before_its_time():
    promises = Promises()
    assert promises.make(1, 10, at=5.0) == 5.0
    assert not promises.redeem(1, now=4.0)
    assert not promises.redeem(2, now=5.0)
    assert promises.redeem(1, now=5.0)
    assert not promises.redeem(1, now=5.0)
    assert (promises.tokens, len(promises)) == (0, 0)


def test_promises_are_made_in_order_so_that_nobody_is_overtaken():
    promises = Promises()
    promises.make(1, 10, at=9.0)
    assert promises.make(2, 10, at=3.0) == 9.0
    assert promises.soon(8.5) == 20 * promises.share


def test_room_is_kept_for_those_that_come_soon_and_no_longer_than_they_may_be_late():
    promises = Promises()
    promises.make(1, 10, at=5.0)
    promises.make(1, 30, at=50.0)
    assert [promises.soon(now) for now in (1.0, 4.5, 5.5, 7.0)] == [0, 5, 5, 0]
    assert promises.redeem(1, now=9.0), "late, but not too late"
    assert promises.redeem(1, now=50.0)
    assert promises.tokens == 0


def test_no_room_is_kept_where_nobody_comes_again_and_all_of_it_where_all_do():
    gone, faithful = Promises(), Promises()
    for number in range(60):
        now = 10.0 * number
        for promises in (gone, faithful):
            promises.make(number, 1000, at=now)
        assert faithful.redeem(number, now)
        gone.soon(now + 9.0)
    for promises in (gone, faithful):
        promises.make(99, 1000, at=600.0)
    assert gone.soon(600.0) < 10
    assert faithful.soon(600.0) > 990
    assert gone.redeem(99, 600.0), "a promise is a promise"
