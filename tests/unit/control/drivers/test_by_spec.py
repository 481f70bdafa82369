"""Each child has the driver of its spec's kind."""

import pytest

from embedfleet.control.drivers.by_spec import Drivers
from embedfleet.control.plan.specs import ContainerSpec, ProcessSpec, RemoteSpec
from tests.services.driver import FakeDriver

PROCESS, REMOTE = ProcessSpec("p", "s", "replica"), RemoteSpec("r", "s", "replica")
CONTAINER = ContainerSpec("c", "s", "replica")


def test_a_child_is_run_by_the_driver_of_its_kind():
    processes, remotes, containers = FakeDriver(), FakeDriver(), FakeDriver()
    drivers = Drivers(processes, remotes, containers)
    assert [drivers.of(spec) for spec in (PROCESS, REMOTE, CONTAINER)] == [processes, remotes, containers]


def test_a_fleet_without_a_daemon_runs_no_containers():
    drivers = Drivers(FakeDriver(), FakeDriver(), None)
    with pytest.raises(TypeError, match="no driver of this fleet runs c, which is a ContainerSpec"):
        drivers.of(CONTAINER)
