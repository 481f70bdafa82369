"""Log lines about replicas: one line per change, with fields that can be searched."""

import logging

import pytest

from embedfleet.errors import Starved
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.replica_log import ReplicaLog
from embedfleet.types import ReplicaState


@pytest.fixture(autouse=True)
def every_line(caplog):
    caplog.set_level(logging.INFO)


def replica(name: str, state: ReplicaState, reason: str = "") -> Replica:
    made = Replica(name)
    made.state, made.reason = state, reason
    return made


def test_a_change_of_state_is_logged_with_its_reason(caplog):
    written = ReplicaLog(60.0)
    one, other = replica("a", ReplicaState.ACTIVE), replica("b", ReplicaState.EJECTED, "refused")
    written.states([one, other])
    written.states([one, other])
    assert [line.getMessage() for line in caplog.records] == ["replica a is active", "replica b is ejected: refused"]
    other.state, other.reason = ReplicaState.ACTIVE, ""
    written.states([one, other])
    assert [line.getMessage() for line in caplog.records[2:]] == ["replica b is active"]
    assert (caplog.records[2].replica, caplog.records[2].state) == ("b", ReplicaState.ACTIVE)


def test_a_replica_that_has_just_joined_is_not_logged(caplog):
    ReplicaLog(60.0).states([replica("a", ReplicaState.JOINING)])
    assert not caplog.records


def test_a_replica_that_never_serves_is_logged_once_with_its_reason(caplog):
    """A gateway with two wrong addresses said nothing for ever."""
    written, one = ReplicaLog(60.0), replica("a", ReplicaState.JOINING, "connection refused")
    written.states([one])
    written.states([one])
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage() == "replica a does not serve yet, and is probed until it does: connection refused"
    one.state, one.reason = ReplicaState.ACTIVE, ""
    written.states([one])
    assert [line.getMessage() for line in caplog.records[1:]] == ["replica a is active"]


def test_a_replica_with_the_name_of_a_removed_one_is_logged_anew(caplog):
    written = ReplicaLog(60.0)
    written.states([replica("a", ReplicaState.ACTIVE)])
    written.gone("a")
    written.states([replica("a", ReplicaState.ACTIVE)])
    assert [line.getMessage() for line in caplog.records] == [
        "replica a is active",
        "replica a has drained and was removed",
        "replica a is active",
    ]


@pytest.mark.parametrize(("request_id", "shown"), [(b"r-1", "r-1"), (b"", "unknown"), (b"\xe9", "é")])
def test_a_conviction_names_the_request_and_how_long_equal_ones_are_refused(caplog, request_id, shown):
    ReplicaLog(90.0).conviction("a", request_id)
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert f"died with request {shown} as its only work, " in line.getMessage()
    assert line.getMessage().endswith("refused for 90 s")
    assert line.request_id == shown


def test_many_connections_that_cannot_be_made_at_once_are_one_line(caplog):
    written = ReplicaLog(60.0)
    for now in (0.0, 0.5, 5.0, 5.1, 10.0):
        written.shortage(Starved("too many open files"), now)
    assert [line.levelno for line in caplog.records] == [logging.WARNING] * 2
    assert "too many open files; raise the limit" in caplog.records[0].getMessage()
