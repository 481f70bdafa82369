"""What is told of a run with poisonous requests."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.poison.run import PoisonPlan
from bench.poison.series import Seen, deaths, fewest, result, series, table
from embedfleet.load.tally import Outcome
from embedfleet.load.verdict import Verdict

ALIVE = [(-1.0, True)]


def asked(at, verdict=Verdict.RIGHT, latency=0.01):
    return Outcome(at, "online", 1, 1, 0.0, latency, verdict, (200,))


def seen(outcomes=(), histories=(ALIVE,), **more):
    return Seen(2.0, 1, list(outcomes), list(histories), **more)


def test_a_moment_without_any_replica_is_seen_however_short():
    first, second = [*ALIVE, (1.2, False), (1.5, True)], [*ALIVE, (1.49, False)]
    assert fewest([first, second], 0.0, 1.0) == 2
    assert fewest([first, second], 1.0, 2.0) == 0
    assert fewest([first, second], 1.5, 2.0) == 1


def test_one_that_dies_when_another_is_back_leaves_no_gap():
    assert fewest([[*ALIVE, (1.0, False), (2.0, True)], [*ALIVE, (2.1, False)]], 0.0, 9.0) == 1


@given(st.lists(st.lists(st.floats(0.1, 10), max_size=6, unique=True), min_size=1, max_size=4))
def test_the_fewest_of_all_is_the_least_of_the_seconds(changes):
    histories = [[*ALIVE, *((at, place % 2 == 1) for place, at in enumerate(sorted(replica)))] for replica in changes]
    assert fewest(histories, 0, 11) == min(fewest(histories, second, second + 1) for second in range(11))
    assert deaths(histories) == sum((len(replica) + 1) // 2 for replica in changes)


def test_each_second_has_what_was_sent_and_seen_in_it():
    rows = series(
        seen(
            [asked(0.1), asked(0.9, latency=0.03), asked(1.0, Verdict.FAILED), asked(1.9, Verdict.WRONG)],
            [ALIVE, [*ALIVE, (1.1, False), (1.4, True)]],
            pss_mb=[(0.0, 18.0), (1.0, 19.0)],
            lags=[(0.2, 0.001), (0.3, 0.004), (1.2, 0.002)],
            poisonous=[(1.1, "502")],
        )
    )
    assert rows == [
        {"second": 0, "deaths": 0, "serving": 2, "answered": 2, "failed": 0, "p50_ms": 10, "p99_ms": 30}
        | {"pss_mb": 18, "lag_ms": 4, "poisonous": 0},
        {"second": 1, "deaths": 1, "serving": 1, "answered": 0, "failed": 2, "p50_ms": None, "p99_ms": None}
        | {"pss_mb": 19, "lag_ms": 2, "poisonous": 1},
    ]
    assert len({len(line) for line in table(rows).splitlines()}) == 1


@pytest.mark.parametrize(
    ("outcomes", "histories", "holds"),
    [
        ([asked(0.1)], [ALIVE, [*ALIVE, (0.5, False), (0.6, True), (0.7, False)]], True),
        ([asked(0.1, Verdict.REFUSED)], [ALIVE], False),  # a request that failed
        ([asked(0.1)], [ALIVE, *[[*ALIVE, (0.5, False)]] * 3], False),  # a third death
        ([asked(0.1)], [[*ALIVE, (0.5, False), (0.6, True)]], False),  # nobody served
    ],
)
def test_it_holds_with_two_deaths_of_a_body_no_failure_and_always_a_replica(outcomes, histories, holds):
    assert result(seen(outcomes, histories))["holds"] is holds


def test_every_body_is_poisonous_and_no_checked_text_is():
    plan = PoisonPlan(bodies=3, texts=2)
    bodies = [orjson.loads(plan.body(number))["inputs"] for number in range(3)]
    assert [[f"poison-{number}" in text for text in texts] for number, texts in enumerate(bodies)] == [
        [False, True]
    ] * 3
    assert isinstance(orjson.loads(PoisonPlan().body(0))["inputs"], str)
    assert (PoisonPlan().seconds, len(PoisonPlan().arrivals())) == (110, 5500)
