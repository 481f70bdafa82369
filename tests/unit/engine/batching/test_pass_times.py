"""A pass is short only if passes of its size were measured often enough, and took a few milliseconds at most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.batching.pass_times import PassTimes

ENOUGH = 8


def measured(tokens, *seconds, workers=1):
    times = PassTimes(workers)
    for taken in seconds:
        times.measured(tokens, taken)
    return times


@given(st.integers(1, 10_000), st.lists(st.floats(0, 10), max_size=ENOUGH - 1), st.integers(1, 8))
def test_a_size_that_was_seldom_measured_is_long_and_is_measured_next(tokens, seconds, workers):
    times = measured(tokens, *seconds, workers=workers)
    assert not times.is_short(tokens)
    assert times.is_due(tokens)


@given(st.integers(1, 10_000), st.lists(st.floats(0, 2e-4), min_size=ENOUGH), st.integers(1, 8))
def test_a_size_that_always_took_a_moment_is_short(tokens, seconds, workers):
    assert measured(tokens, *seconds, workers=workers).is_short(tokens)


@given(st.integers(1, 10_000), st.lists(st.floats(3.1e-3, 10), min_size=ENOUGH), st.integers(1, 8))
def test_a_size_that_always_took_long_is_long(tokens, seconds, workers):
    assert not measured(tokens, *seconds, workers=workers).is_short(tokens)


@pytest.mark.parametrize(("workers", "is_short"), [(1, True), (2, False)])
def test_a_millisecond_is_too_long_where_another_worker_could_run_the_pass_meanwhile(workers, is_short):
    assert measured(100, *[1e-3] * ENOUGH, workers=workers).is_short(100) is is_short


def test_other_sizes_are_judged_apart():
    times = measured(100, *[1e-4] * ENOUGH)
    assert times.is_short(120)
    assert not times.is_short(200)
    assert not times.is_short(30)


def test_a_size_that_became_slow_becomes_long_and_short_again():
    times = measured(100, *[1e-4] * ENOUGH, *[0.1] * 30)
    assert not times.is_short(100)
    for _ in range(60):
        times.measured(100, 1e-4)
    assert times.is_short(100)


def test_a_known_size_is_measured_now_and_then():
    times = measured(100, *[1e-4] * ENOUGH)
    assert sum(times.is_due(100) for _ in range(160)) == 10


def test_a_pass_that_waits_for_a_device_is_never_short():
    """The processor's time of such a pass is a fraction of the time for which it would hold up the event loop."""
    times = PassTimes(1, waits_for_device=True)
    for _ in range(ENOUGH):
        times.measured(100, 1e-5)
    assert not times.is_short(100)
    assert not times.may_be_short(100)
