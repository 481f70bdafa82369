"""Who waits for whose computation."""

from typing_extensions import override

from embedfleet.gateway.cache.under_way import Computation, UnderWay, Waiting


class Request(Waiting):
    @override
    def take(self, computation, answers):
        raise AssertionError

    @override
    def lose(self, computation):
        raise AssertionError


def begun(under_way, *keys, is_online=True):
    computation = Computation(keys, is_online=is_online)
    computation.waiting[Request()] = None
    under_way.begin(computation)
    return computation


def test_a_text_is_found_until_its_computation_ends():
    under_way = UnderWay()
    computation = begun(under_way, b"a", b"b")
    assert under_way.find(b"a", is_online=True) is computation
    assert under_way.find(b"c", is_online=True) is None
    assert len(under_way.end(computation)) == 1
    assert not len(under_way)
    assert not computation.waiting


def test_online_work_does_not_wait_for_bulk_and_bulk_waits_for_either():
    under_way = UnderWay()
    bulk = begun(under_way, b"a", is_online=False)
    assert under_way.find(b"a", is_online=True) is None
    assert under_way.find(b"a", is_online=False) is bulk
    online = begun(under_way, b"a")
    assert under_way.find(b"a", is_online=False) is online
    begun(under_way, b"a")
    assert under_way.find(b"a", is_online=True) is online, "the first one ends first"
    under_way.end(bulk)
    assert under_way.find(b"a", is_online=True) is online


def test_a_computation_is_to_be_ended_once_nobody_waits():
    under_way = UnderWay()
    computation = begun(under_way, b"a")
    (owner,), other = computation.waiting, Request()
    computation.waiting[other] = None
    assert not under_way.leave(computation, owner)
    assert under_way.leave(computation, other)
