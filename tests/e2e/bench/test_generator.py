"""The load generator counts the answers of a deliberately wrong server correctly, over real sockets."""

from collections import Counter
from collections.abc import Callable, Iterator

import orjson
import pytest

from bench.fake_tei.oracle import FakeOracle, vector_of
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT
from embedfleet.load.generator import Generator
from embedfleet.load.plan import planned
from embedfleet.load.tally import Outcome
from embedfleet.load.verdict import Verdict
from embedfleet.load.workload import Arrival
from tests.services.http import run, serving

Answer = Callable[[Exchange, list], None]


def right(exchange: Exchange, vectors: list) -> None:
    exchange.respond(200, [JSON], orjson.dumps(vectors))


def reversed_(exchange: Exchange, vectors: list) -> None:
    exchange.respond(200, [JSON], orjson.dumps(vectors[::-1]))


def short(exchange: Exchange, vectors: list) -> None:
    exchange.respond(200, [JSON], orjson.dumps(vectors[1:]))


def nulls(exchange: Exchange, vectors: list) -> None:
    exchange.respond(200, [JSON], orjson.dumps([[None] * 8, *vectors[1:]]))


def garbage(exchange: Exchange, _: list) -> None:
    exchange.respond(200, [TEXT], b"<html>")


def broken(exchange: Exchange, _: list) -> None:
    exchange.respond(502, [TEXT], b"bad gateway")


def refused(exchange: Exchange, _: list) -> None:
    exchange.respond(429, [TEXT, (b"retry-after", b"1")], b"")


def refused_silently(exchange: Exchange, _: list) -> None:
    exchange.respond(503, [TEXT], b"")


def reset(exchange: Exchange, _: list) -> None:
    exchange.abort()


def half(exchange: Exchange, vectors: list) -> None:
    body = orjson.dumps(vectors)
    exchange.start(200, [JSON], len(body))
    exchange.write(body[:10])
    exchange.abort()


def closing(exchange: Exchange, vectors: list) -> None:
    exchange.keep_alive = False
    right(exchange, vectors)


async def sent(answers: Iterator[Answer], count: int, *, split: int = 0, connections: int = 4, **more) -> list[Outcome]:
    def handle(exchange: Exchange) -> None:
        texts = orjson.loads(exchange.body)["inputs"]
        next(answers)(exchange, [vector_of(text) for text in texts])

    async with serving(handle) as server:
        plan = planned(
            [Arrival(n, n * 0.001, "bulk", (5, 6, 7, 8)) for n in range(count)], FakeOracle(), seed=1, split=split
        )
        return await Generator(plan, server.port, **more).run(connections)


@pytest.mark.parametrize(
    ("answer", "verdict", "status"),
    [
        (right, Verdict.RIGHT, 200),
        (closing, Verdict.RIGHT, 200),
        (reversed_, Verdict.OUT_OF_ORDER, 200),
        (short, Verdict.WRONG, 200),
        (nulls, Verdict.WRONG, 200),
        (garbage, Verdict.WRONG, 200),
        (broken, Verdict.FAILED, 502),
        (refused, Verdict.REFUSED, 429),
        (refused_silently, Verdict.REFUSED, 503),
        (reset, Verdict.LOST, 0),
        (half, Verdict.LOST, 0),
    ],
)
def test_each_wrong_is_counted_once_and_for_what_it_is(answer, verdict, status):
    async def test():
        outcomes = await sent(iter([right, answer, right]), 3)
        assert Counter(o.verdict for o in outcomes) == Counter([Verdict.RIGHT, Verdict.RIGHT, verdict])
        assert [o.statuses for o in outcomes if o.verdict is verdict][-1] in {(status,), (200,)}
        assert all(o.latency_s > 0 and o.late_s >= 0 for o in outcomes if o.verdict is not Verdict.LOST)

    run(test)


def test_one_wrong_part_of_a_split_batch_makes_the_batch_wrong():
    async def test():
        (outcome,) = await sent(iter([right, short]), 1, split=2)
        assert (outcome.verdict, outcome.statuses, outcome.texts) == (Verdict.WRONG, (200, 200), 4)

    run(test)


def test_requests_leave_though_nobody_answers_and_are_lost_at_the_end():
    async def test():
        outcomes = await sent(iter([lambda _exchange, _vectors: None] * 20), 20, connections=2, settle_s=0.2)
        assert [o.verdict for o in outcomes] == [Verdict.LOST] * 20
        assert all(o.latency_s >= 0.2 for o in outcomes)

    run(test)


def test_retry_after_is_obeyed_once_and_its_absence_noted():
    async def test():
        answers = iter([refused, refused_silently, right])
        outcomes = await sent(answers, 2, retries_refused=True)
        assert [(o.verdict, o.has_retry_after, o.again) for o in outcomes] == [
            (Verdict.REFUSED, True, Verdict.RIGHT),
            (Verdict.REFUSED, False, None),
        ]

    run(test)
