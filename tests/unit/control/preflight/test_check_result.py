"""A blocked check is reported with its hint and keeps the fleet from starting; a warning does not."""

import pytest

from embedfleet.control.preflight.check_result import blocked, ok, refuse_blocked, warning
from embedfleet.errors import FleetError, UsageError

GOOD = [ok("a", "fine"), warning("b", "odd", "mend it")]


def test_warnings_do_not_keep_a_fleet_from_starting():
    refuse_blocked(GOOD)
    refuse_blocked([])


def test_all_blocked_checks_are_reported_together():
    found = [*GOOD, blocked("gpu", FleetError("no GPU", "buy one")), blocked("disk", UsageError("full", ""))]
    with pytest.raises(UsageError) as caught:
        refuse_blocked(found)
    assert caught.value.message == "2 problems keep the fleet from starting\n  gpu: no GPU (buy one)\n  disk: full"
    with pytest.raises(UsageError, match="1 problem keeps the fleet from starting"):
        refuse_blocked(found[:3])


def test_a_check_has_a_state_for_programs_and_a_message_for_people():
    assert [check.state for check in GOOD] == ["ok", "warn"]
    assert (GOOD[0].hint, GOOD[1].hint) == ("", "mend it")
    check = blocked("gpu", FleetError("no GPU", "buy one"))
    assert (check.id, check.state, check.message, check.hint) == ("gpu", "blocked", "no GPU", "buy one")
