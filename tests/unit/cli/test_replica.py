"""A replica's state is told with its work under way and the reason why it does not serve."""

import pytest

from embedfleet.cli.replica import NOT_RUNNING, describe, end_without_fleet, order
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.control.status import ProcessStatus, ReplicaStatus
from embedfleet.types import ReplicaLoad, ReplicaState


@pytest.mark.parametrize(
    ("state", "reason", "load", "expected"),
    [
        (ReplicaState.ACTIVE, "", None, "active"),
        (ReplicaState.DRAINING, "", ReplicaLoad(requests=3), "draining, 3 under way"),
        (ReplicaState.DRAINED, "", ReplicaLoad(requests=0), "drained"),
        (ReplicaState.EJECTED, "refused", None, "ejected: refused"),
        (ReplicaState.EJECTED, "refused", ReplicaLoad(requests=1), "ejected, 1 under way: refused"),
    ],
)
def test_a_state_is_told_with_load_and_reason(state, reason, load, expected):
    assert describe(ReplicaStatus(ProcessStatus("a", 1, "ready"), "http://h:1", state, reason, load)) == expected


def test_a_replica_that_the_fleet_does_not_have_is_not_there():
    assert describe(None) == "not there"


def test_without_a_fleet_an_order_ends_with_a_code_of_its_own(tmp_path, capsys):
    lock = FleetLock(tmp_path / "state")
    for call in (lambda: end_without_fleet(lock), lambda: order(lock, "a", "drain")):
        with pytest.raises(SystemExit) as ended:
            call()
        assert ended.value.code == NOT_RUNNING
        assert capsys.readouterr().err == f"no fleet runs in {tmp_path / 'state'}\n"
