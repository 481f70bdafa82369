"""A batch waits for clients that were just answered and are known to come back, and for nobody else."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.gathering import Gathering
from tests.services.echo import EchoBackend, engine_of, run, sequence

PASS_S = 1.0
passes = st.lists(
    st.tuples(st.integers(0, 20), st.floats(0.001, 5), st.lists(st.floats(0, 1), max_size=30)), max_size=30
)


def after(history, gathering):
    """Passes one after the other, each so long, with so many answered, and requests that come after it; the time."""
    now = 0.0
    for answered, pass_s, arrivals in history:
        now += pass_s
        gathering.ended(answered, now - pass_s, now)
        for wait in sorted(arrivals):
            gathering.arrived(now + wait)
        now += 1.0
    return now


@given(passes, st.integers(0, 20), st.floats(0.001, 5), st.floats(0, 5))
def test_nobody_is_kept_for_longer_than_a_tenth_of_the_last_pass_after_its_end(history, answered, pass_s, later):
    gathering = Gathering()
    end = after(history, gathering) + pass_s
    gathering.ended(answered, end - pass_s, end)
    waited = gathering.wait_s(end + later)
    assert 0 <= waited <= max(0.0, 0.1 * pass_s - later) + 1e-9


@given(st.integers(1, 20))
def test_clients_that_come_back_at_once_are_waited_for_until_all_are_there(clients):
    gathering = Gathering()
    now = after([(clients, PASS_S, [0.01] * clients)] * 10, gathering) + PASS_S
    gathering.ended(clients, now - PASS_S, now)
    for _ in range(clients):
        assert gathering.wait_s(now) > 0
        gathering.arrived(now)
    assert gathering.wait_s(now) == 0


@given(st.lists(st.integers(0, 9), min_size=10, max_size=10))
def test_requests_that_come_when_they_come_are_not_waited_for(spread):
    gathering = Gathering()
    # As many in the time between two passes as each answers: of twenty, two in the tenth that counts.
    history = [(20, PASS_S, [0.01 * late, 0.09, *[0.5] * 18]) for late in spread]
    now = after(history, gathering) + PASS_S
    gathering.ended(20, now - PASS_S, now)
    assert gathering.wait_s(now) == 0


def test_clients_that_ask_one_text_after_the_other_share_their_passes():
    async def story(engine):
        async def client(number):
            for turn in range(12):
                await engine.infer([sequence(100 * number + turn)])

        await asyncio.gather(*(client(number) for number in range(1, 5)))

    backend = EchoBackend()
    backend.pass_s = 0.1
    with engine_of(backend) as engine:
        run(story(engine))
    late = backend.batches[-8:]
    assert sum(map(len, late)) > 2.5 * len(late), "taking turns they would be two at a time"
