"""The replicas of a service: windows of new replicas, and the choice in a large pool."""

import pytest

from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.limits import DispatchLimits
from tests.unit.gateway.dispatch.test_sending import NOW, ask, fleet


def test_a_replica_that_joins_others_starts_slowly_and_a_new_fleet_does_not():
    """With a whole fleet in slow start, a load of 95 % built a queue in 10 s that took minutes to shrink."""
    made = Dispatcher(DispatchLimits())
    made.set_members(["0", "1"], NOW)
    for at, name in ((NOW, "0"), (NOW + 5, "1")):
        made.probed(name, "", at, Capabilities())
    assert [replica.window for replica in made.replicas.values()] == [made.replicas["0"].widest] * 2
    later = NOW + 5 + made.limits.slow_start_s
    made.set_members(["0", "1", "2"], later)
    made.probed("2", "", later, Capabilities())
    joined = made.replicas["2"]
    assert joined.window < joined.widest
    made.tick(later + made.limits.slow_start_s)
    assert joined.window == joined.widest


@pytest.mark.parametrize("count", [65, 100, 128, 300])
def test_every_replica_of_a_large_pool_gets_its_turn(count):
    made = fleet(count)
    sent = [send.replica.id for _ in range(3 * count) for send in ask(made, [2000])]
    assert len(sent) == 3 * count
    assert {sent.count(name) for name in made.replicas} == {3}


def test_in_a_large_pool_the_only_replica_with_room_is_found():
    made = fleet(300)
    free = "217"
    for name, replica in made.replicas.items():
        if name != free:
            replica.pause_until(NOW + 60)
    assert [send.replica.id for _ in range(3) for send in ask(made, [20])] == [free] * 3
