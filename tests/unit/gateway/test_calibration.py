"""The batches that a calibration measures, and its end at a slow replica."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.gateway.calibration import SIZES, BatchSize, Calibration, is_worthwhile, wanted
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.http.message import JSON
from embedfleet.http.server import Server
from embedfleet.types import Endpoint

INFO = {"model_type": {"embedding": {"pooling": "cls"}}, "max_input_length": 512}


@given(
    st.builds(
        Capabilities,
        batch_tokens=st.integers(1, 40_000),
        batch_texts=st.integers(1, 64),
        input_tokens=st.integers(1, 9000),
    ),
    st.none() | st.integers(-3, 40) | st.just("8"),
)
def test_every_size_is_within_the_replicas_limits(abilities, together):
    sizes = wanted(abilities, together)
    assert sizes
    assert len(set(sizes)) == len(sizes)
    for size in sizes:
        assert 1 <= size.texts <= abilities.batch_texts
        assert size.words <= abilities.input_tokens
        assert size.tokens <= abilities.batch_tokens
        if type(together) is int and together > 0:
            assert size.texts <= together


def test_a_replica_without_narrow_limits_is_measured_with_every_size():
    assert wanted(Capabilities()) == list(SIZES)
    assert wanted(Capabilities(), 4)[-1] == BatchSize(4, 512)


@given(
    st.lists(st.tuples(st.integers(1, 9000), st.floats(0.0001, 0.4)), min_size=2, max_size=5), st.sampled_from(SIZES)
)
def test_nothing_is_measured_without_time(samples, size):
    assert not is_worthwhile(samples, size, 0.0)
    assert not is_worthwhile(samples[:1], size, -1.0)
    assert not is_worthwhile([], size, 0.0)


@pytest.mark.parametrize("count", [0, 1])
def test_two_batches_are_measured_however_slow(count):
    assert is_worthwhile([(8, 10.0)] * count, SIZES[1], 0.1)


def test_after_a_slow_batch_no_larger_one_is_sent():
    quick, slow = [(8, 0.01), (128, 0.02)], [(8, 0.3), (128, 0.6)]
    assert is_worthwhile(quick, SIZES[4], 10.0)
    assert not is_worthwhile(slow, SIZES[2], 100.0)


def test_a_batch_that_would_take_longer_than_the_time_left_is_not_sent():
    samples = [(8, 0.0008), (128, 0.0128)]  # 0.1 ms a token: 8192 tokens take 0.82 s
    assert is_worthwhile(samples, BatchSize(16, 512), 0.9)
    assert not is_worthwhile(samples, BatchSize(16, 512), 0.7)


class Clock:
    """A clock that a replica advances with each answer."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Measured:
    """A replica that takes 4 ms for a batch and 20 µs for a token, by the given clock."""

    def __init__(self, clock: Clock, status: int = 200) -> None:
        self.bodies: list[bytes] = []
        self.status = status
        self._clock = clock
        self.server = Server(self._answer)

    def _answer(self, exchange) -> None:
        self.bodies.append(exchange.body)
        tokens = 2 * exchange.body.count(b'"') + exchange.body.count(b" ")
        self._clock.now += 0.004 + tokens / 50_000
        fields = [JSON, (b"x-compute-tokens", b"%d" % tokens)]
        exchange.respond(self.status, fields, b"[[1.0]]")


def measure(replica: Measured, clock: Clock, *times: tuple[dict, int, float]):
    """Ask for the cost at each ``/info``, number of absences and seconds since the last; also count the batches."""

    async def go():
        await replica.server.start()
        calibration = Calibration(clock)
        endpoint = Endpoint("a", f"http://127.0.0.1:{replica.server.port}")
        costs = []
        for info, absences, passed in times:
            clock.now += passed
            costs.append((await calibration.cost(endpoint, info, absences), len(replica.bodies)))
        await replica.server.stop(0)
        return costs

    return asyncio.run(go())


def test_the_cost_of_a_batch_and_of_a_token_are_measured():
    clock = Clock()
    ((cost, _),) = measure(Measured(clock), clock, (INFO, 0, 0.0))
    assert cost is not None
    assert cost.a_s == pytest.approx(0.004, rel=0.05)
    assert cost.b_s == pytest.approx(1 / 50_000, rel=0.05)


def test_no_text_is_sent_twice_because_a_cache_would_answer():
    clock = Clock()
    replica = Measured(clock)
    measure(replica, clock, (INFO, 0, 0.0))
    assert len(set(replica.bodies)) == len(replica.bodies) > len(SIZES)


@pytest.mark.parametrize("status", [429, 503])
def test_a_replica_that_is_busy_or_fails_has_no_cost(status):
    clock = Clock()
    replica = Measured(clock, status)
    assert measure(replica, clock, (INFO, 0, 0.0)) == [(None, 1)]


@pytest.mark.parametrize(
    ("info", "absences", "passed", "again"),
    [
        (INFO, 0, 1e6, False),  # the same process, however long ago
        (INFO, 1, 31.0, True),  # it was away: another process may answer now
        (INFO, 1, 1.0, False),  # it comes and goes: measuring it each time would keep it from serving
        (INFO | {"max_input_length": 128}, 0, 1.0, True),
    ],
)
def test_a_replica_is_measured_again_only_if_it_may_be_another(info, absences, passed, again):
    clock = Clock()
    (_, before), (_, after) = measure(Measured(clock), clock, (INFO, 0, 0.0), (info, absences, passed))
    assert (after > before) is again
