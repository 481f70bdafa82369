"""The table that `embedfleet status` prints."""

import io

from rich.console import Console

from embedfleet.cli.verbs.status import show
from embedfleet.control.status import BalancerStatus, FleetStatus, ProcessStatus, ReplicaStatus, ServiceStatus
from embedfleet.types import ReplicaLoad, ReplicaState

WHY = "another model: pooling is 'mean', the pool's is 'cls' (start it with the pool's; or, if the whole pool is …)"


def replica(name: str, state: ReplicaState, reason: str = "") -> ReplicaStatus:
    process = ProcessStatus(name, 4711, "ready", pss_bytes=110_000_000)
    return ReplicaStatus(process, "http://127.0.0.1:18081", state, reason, ReplicaLoad(requests=3, sent=1234))


def test_a_long_reason_leaves_the_table_whole_on_a_narrow_terminal():
    gateway = BalancerStatus(ProcessStatus("search-gateway", 4710, "running", pss_bytes=31_000_000))
    replicas = (replica("search-tei-0", ReplicaState.ACTIVE), replica("search-tei-1", ReplicaState.JOINING, WHY))
    console = Console(width=110, file=io.StringIO())
    show(FleetStatus(1, True, 0, (ServiceStatus("search", 8001, gateway, replicas),)), console)
    lines = console.file.getvalue().splitlines()
    assert lines[3].split() == ["search-tei-1", "joining", "127.0.0.1:18081", "4711", "0", "3", "1234", "110", "MB"]
    assert lines[-1] == f"search-tei-1: {WHY}"
