"""A child that answers, works or loads is not hung; one that is silent and idle is found out in time.

Time in which this process itself stood still does not count.
"""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.lifecycle.liveness import LATE_S, SUSPECT_S, Activity, Bounds, Observation, Silence, bounds
from embedfleet.control.lifecycle.phase import Phase

PERIOD_S = 0.5
NOTHING = Activity(cpu_s=1.0, bytes_read=0, is_stopped=False, is_busy=False)
STOPPED = Activity(cpu_s=1.0, bytes_read=0, is_stopped=True, is_busy=False)

after_s = st.floats(1.0, 20.0)
lateness = st.floats(0.0, LATE_S)
pauses = st.floats(LATE_S + 0.01, 1e6)
activities = st.builds(
    Activity,
    cpu_s=st.floats(0, 100),
    bytes_read=st.integers(0, 10**9),
    is_stopped=st.just(False),
    is_busy=st.booleans(),
)


def look(activity: Activity | None = NOTHING, *, answered: bool | None = False, late_s: float = 0.0) -> Observation:
    return Observation(PERIOD_S, PERIOD_S + late_s, answered, activity)


def until_hung(limits: Bounds, *looks: Observation, most: int = 400) -> float:
    """Seconds of these observations, repeated in turns, after which a child counts as hung; inf if it never does."""
    life, passed_s = Silence(), 0.0
    for number in range(most):
        seen = looks[number % len(looks)]
        life = life.after(seen)
        passed_s += seen.elapsed_s
        if life.is_hung(limits):
            return passed_s
    return inf


@given(after_s, st.sampled_from([NOTHING, STOPPED]), lateness)
def test_a_silent_idle_child_is_hung_soon_after_its_bound(after_s, activity, late_s):
    hung_s = until_hung(bounds(Phase.READY, after_s), look(activity, late_s=late_s))
    assert after_s <= hung_s <= after_s + 2 * (PERIOD_S + LATE_S)


@given(after_s, st.lists(activities | st.none(), min_size=1, max_size=8), st.integers(0, 3))
def test_a_child_that_answers_now_and_then_is_not_hung(after_s, seen, gap):
    silence = [look(activity) for activity in seen * gap][: int(after_s / PERIOD_S) - 1]
    assert until_hung(bounds(Phase.READY, after_s), look(answered=True), *silence) == inf


@given(after_s, st.floats(0.03, 4.0))
def test_a_working_child_has_a_longer_but_finite_bound(after_s, rate):
    life, passed_s = Silence(), 0.0
    while not life.is_hung(bounds(Phase.READY, after_s)):
        life = life.after(look(Activity(rate * passed_s, 0, is_stopped=False, is_busy=False)))
        passed_s += PERIOD_S
    assert passed_s >= 6 * after_s
    assert until_hung(bounds(Phase.READY, after_s), look(None)) >= 6 * after_s, (
        "a child whose activity is unknown has the longer bound"
    )


@given(after_s, st.sampled_from(["works", "reads"]))
def test_a_child_that_waits_for_a_core_or_a_disk_or_reads_is_not_idle(after_s, how):
    life, done = Silence(), 0
    for _ in range(int(2 * after_s / PERIOD_S)):
        done += 1_000_000 if how == "reads" else 0
        life = life.after(look(Activity(1.0, done, is_stopped=False, is_busy=how == "works")))
        assert not life.is_hung(bounds(Phase.READY, after_s))


@given(after_s, st.floats(0.0, 0.015))
def test_a_timer_in_a_hung_child_does_not_count_as_work(after_s, rate):
    life, passed_s = Silence(), 0.0
    while not life.is_hung(bounds(Phase.READY, after_s)):
        life = life.after(look(Activity(rate * passed_s, 0, is_stopped=False, is_busy=False)))
        passed_s += PERIOD_S
    assert passed_s <= after_s + 3 * PERIOD_S


@given(after_s, st.lists(st.tuples(pauses, st.sampled_from([NOTHING, STOPPED, None])), max_size=20))
def test_time_in_which_this_process_stood_still_does_not_count(after_s, stood):
    life = Silence()
    for pause_s, activity in stood:
        life = life.after(look(activity, late_s=pause_s))
        assert not life.is_hung(bounds(Phase.READY, after_s))
        life = life.after(look(answered=True))
        assert not life.fault


@given(after_s, pauses)
def test_a_hang_is_found_even_if_every_look_is_late(after_s, late_s):
    assert until_hung(bounds(Phase.READY, after_s), look(late_s=late_s)) < inf


@given(after_s, st.lists(st.integers(0, 20_000_000), min_size=2, max_size=50))
def test_a_child_that_loads_from_a_slow_disk_is_not_hung_while_bytes_arrive(after_s, portions):
    life, done, dry_s = Silence(), 0, 0.0
    for portion in portions * 4:
        done += portion
        dry_s = 0.0 if portion > 65_536 else dry_s + PERIOD_S
        life = life.after(look(Activity(1.0, done, is_stopped=False, is_busy=False)))
        assert dry_s >= 5 * after_s or not life.is_hung(bounds(Phase.STARTING, after_s))


@given(after_s)
def test_a_loading_child_has_a_longer_bound_unless_it_is_stopped(after_s):
    loading = bounds(Phase.STARTING, after_s)
    assert until_hung(loading, look(NOTHING)) >= 6 * after_s
    assert until_hung(loading, look(STOPPED)) <= after_s + 2
    assert until_hung(loading, look(Activity(1.0, 0, is_stopped=False, is_busy=True))) == inf


@given(after_s)
def test_a_silent_stopping_child_gets_a_short_bound(after_s):
    ending = bounds(Phase.STOPPING, after_s)
    assert until_hung(ending, look(NOTHING)) <= 6
    assert until_hung(ending, look(Activity(1.0, 0, is_stopped=False, is_busy=True))) <= 14
    assert until_hung(ending, look(answered=True)) == inf


@given(st.sampled_from(list(Phase)))
def test_zero_is_never(phase):
    assert phase is Phase.STOPPING or until_hung(bounds(phase, 0), look(STOPPED)) == inf


def test_a_stopped_process_counts_although_another_process_of_the_child_answers():
    assert until_hung(bounds(Phase.READY, 20), look(STOPPED, answered=True)) <= 22


def test_a_child_that_could_not_be_asked_is_not_silent():
    assert until_hung(bounds(Phase.READY, 1), look(NOTHING, answered=None)) == inf


def test_a_child_complains_in_words():
    life = Silence()
    while life.silent_s < SUSPECT_S:
        assert life.fault == ""
        life = life.after(look())
    assert life.fault == "no answer for 2 s, while it does nothing"
    assert Silence().after(look(STOPPED)).reason == "one of its processes has been stopped for 0 s, as by SIGSTOP"
