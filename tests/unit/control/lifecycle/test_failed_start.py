"""A failed start leaves the children that served before, and never two models side by side."""

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.lifecycle.failed_start import StartRecord, leftovers

NAMES = ("a", "b", "c")


@st.composite
def starts(draw: st.DrawFn, name: str) -> StartRecord:
    """A record that a start can leave; for example, a child that was not found is not stale."""
    was_found = draw(st.booleans())
    was_stale = was_found and draw(st.booleans())
    was_started = draw(st.booleans())
    return StartRecord(
        name,
        was_found,
        was_stale,
        had_other_model=was_stale and draw(st.booleans()),
        was_started=was_started,
        has_served=was_started and draw(st.booleans()),
    )


fleets = st.tuples(*(starts(name) for name in NAMES))
set_aside = st.frozensets(st.sampled_from(NAMES))


@given(fleets, set_aside)
def test_no_name_is_both_removed_and_superseded(records, aside):
    decision = leftovers(records, aside)
    assert not decision.removed & decision.superseded


@given(fleets, set_aside)
def test_children_that_were_not_started_stay(records, aside):
    decision = leftovers(records, aside)
    untouched = {record.name for record in records if not record.was_started}
    assert not untouched & (decision.removed | decision.superseded)
    assert all(record.keeps_running for record in records if record.was_found and not record.was_started)


@given(fleets, set_aside)
def test_a_former_container_is_removed_only_for_one_that_serves_the_same_model(records, aside):
    named = {record.name: record for record in records}
    for name in leftovers(records, aside).superseded:
        assert named[name].has_served
        assert not named[name].had_other_model


@given(fleets, set_aside)
def test_a_container_is_left_under_every_name_that_ran_before(records, aside):
    """That is the former container, its replacement, or a container that was set aside."""
    decision = leftovers(records, aside)
    for record in records:
        if record.was_found and record.name not in aside:
            replaced = record.was_stale and record.was_started
            assert replaced or record.name not in decision.removed


@given(fleets, set_aside)
def test_new_containers_are_removed(records, aside):
    decision = leftovers(records, aside)
    assert {record.name for record in records if record.was_started and not record.was_found} <= decision.removed


def test_an_update_to_another_model_is_undone_as_a_whole():
    """One of its replicas has served already, but the former model must not serve beside it."""
    served = StartRecord("a", was_found=True, was_stale=True, had_other_model=True, was_started=True, has_served=True)
    failed = StartRecord("b", was_found=True, was_stale=True, had_other_model=True, was_started=True, has_served=False)
    decision = leftovers([served, failed], {"a", "b"})
    assert (decision.removed, decision.superseded) == ({"a", "b"}, set())


def test_an_update_of_the_same_model_keeps_what_serves_already():
    served = StartRecord("a", was_found=True, was_stale=True, had_other_model=False, was_started=True, has_served=True)
    failed = StartRecord("b", was_found=True, was_stale=True, had_other_model=False, was_started=True, has_served=False)
    decision = leftovers([served, failed], {"a", "b"})
    assert (decision.removed, decision.superseded) == ({"b"}, {"a"})
