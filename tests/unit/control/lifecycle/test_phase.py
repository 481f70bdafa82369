"""The life of a child is a table: every phase can end, and what cannot happen is an error."""

import pytest

from embedfleet.control.lifecycle.phase import TRANSITIONS, Phase, PhaseEvent, follow


def test_every_phase_is_in_the_table():
    assert set(TRANSITIONS) == set(Phase)


def test_every_child_that_is_not_stopped_can_be_told_to_stop_or_is_stopping():
    for phase in set(Phase) - {Phase.STOPPING}:
        assert follow(phase, PhaseEvent.STOP) in {Phase.STOPPING, Phase.STOPPED}
    assert follow(Phase.STOPPING, PhaseEvent.EXIT) is Phase.STOPPED


def test_a_death_leads_to_backoff_and_an_ordered_end_does_not():
    assert follow(Phase.READY, PhaseEvent.EXIT) is Phase.BACKOFF
    assert follow(Phase.STARTING, PhaseEvent.EXIT) is Phase.BACKOFF
    assert follow(Phase.STOPPING, PhaseEvent.EXIT) is Phase.STOPPED


@pytest.mark.parametrize(("phase", "event"), [(Phase.PENDING, PhaseEvent.EXIT), (Phase.READY, PhaseEvent.START)])
def test_an_impossible_event_is_an_error(phase, event):
    with pytest.raises(ValueError, match=f"a child that is {phase} cannot {event}"):
        follow(phase, event)
