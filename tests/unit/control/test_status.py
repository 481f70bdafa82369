"""The status of a fleet has the same JSON as in earlier releases, and is read back from it unchanged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.status import BalancerStatus, FleetStatus, ProcessStatus, ReplicaStatus, ServiceStatus
from embedfleet.types import ReplicaLoad, ReplicaState

RECORDED = """
{"pid": 4700, "ready": true, "pss_bytes": 41000000, "services": [
  {"name": "embedder", "port": 8001,
   "gateway": {"id": "embedder-gateway", "pid": 4710, "phase": "ready", "restarts": 0, "last_end": "",
               "uptime_s": 12.5, "pss_bytes": 31000000, "reason": ""},
   "replicas": [
     {"id": "embedder-0", "pid": 4711, "phase": "ready", "restarts": 1, "last_end": "signal 9", "uptime_s": 3.1,
      "pss_bytes": 110000000, "url": "http://127.0.0.1:18080", "state": "active", "requests": 3, "tokens": 96,
      "sent": 1234, "slowness": 1.02, "reason": ""},
     {"id": "embedder-1", "pid": null, "phase": "backoff", "restarts": 4, "last_end": "code 1", "uptime_s": 0,
      "pss_bytes": 0, "url": "", "state": "backoff", "reason": "it cannot be started"}]}]}
"""
LEFT_BY_A_FLEET = """
{"pid": null, "pss_bytes": 0, "services": [
  {"name": "embedder", "port": 8001,
   "gateway": {"id": "nginx-embedder-lb", "pid": 4710, "phase": "running", "restarts": 0, "last_end": "",
               "uptime_s": 0, "pss_bytes": 0},
   "replicas": [
     {"id": "bge-embedder-tei-0", "pid": 4711, "phase": "running", "restarts": 0, "last_end": "", "uptime_s": 0,
      "pss_bytes": 0, "url": "http://172.18.0.2:80", "state": "ejected", "reason": "answered 503"}]}]}
"""

numbers = st.integers(0, 2**40)
processes = st.builds(
    ProcessStatus, st.text(), st.none() | numbers, st.sampled_from(Phase).map(str), numbers, st.text(), numbers, numbers
)
loads = st.builds(ReplicaLoad, numbers, numbers, numbers, st.floats(0, 100))
replicas = st.builds(ReplicaStatus, processes, st.text(), st.sampled_from(ReplicaState), st.text(), st.none() | loads)
balancers = st.builds(BalancerStatus, processes, st.none() | st.text())
services = st.builds(ServiceStatus, st.text(), numbers, balancers, st.lists(replicas, max_size=3).map(tuple))
fleets = st.builds(
    FleetStatus, st.none() | numbers, st.none() | st.booleans(), numbers, st.lists(services, max_size=3).map(tuple)
)


@pytest.mark.parametrize("recorded", [RECORDED, LEFT_BY_A_FLEET])
def test_a_recorded_status_is_read_and_written_unchanged(recorded):
    row = json.loads(recorded)
    written = FleetStatus.from_json(row).to_json()
    assert json.dumps(written) == json.dumps(row), "the order of the keys is the same too"


def test_a_recorded_status_has_the_recorded_values():
    status = FleetStatus.from_json(json.loads(RECORDED))
    assert status.is_ready
    assert not status.is_whole
    assert status.states == {"embedder-0": ReplicaState.ACTIVE, "embedder-1": ReplicaState.BACKOFF}
    found = status.replica("embedder-0")
    assert found is not None
    assert found.load == ReplicaLoad(3, 96, 1234, 1.02)
    assert status.replica("embedder-2") is None


@given(fleets)
def test_a_status_comes_back_from_its_json(status):
    assert FleetStatus.from_json(json.loads(json.dumps(status.to_json()))) == status


def test_a_state_that_only_another_version_has_is_read_as_unknown():
    row = json.loads(RECORDED)
    row["services"][0]["replicas"][0]["state"] = "hibernating"
    assert FleetStatus.from_json(row).states["embedder-0"] is ReplicaState.UNKNOWN


def test_every_phase_of_a_process_is_a_state_of_a_replica():
    assert {phase.value for phase in Phase} <= {state.value for state in ReplicaState}


@pytest.mark.parametrize(
    ("phase", "states", "whole"),
    [
        ("ready", ["active", "active"], True),
        ("ready", ["active", "drained"], True),
        ("running", ["active", "draining"], True),
        ("ready", ["drained", "drained"], False),
        ("ready", ["active", "ejected"], False),
        ("backoff", ["active"], False),
    ],
)
def test_a_service_is_whole_if_some_but_not_all_replicas_are_drained(phase, states, whole):
    gateway = BalancerStatus(ProcessStatus("s-gateway", phase=phase))
    replicas = tuple(ReplicaStatus(ProcessStatus("s-0"), "", ReplicaState(state)) for state in states)
    assert ServiceStatus("s", 8001, gateway, replicas).is_whole is whole
