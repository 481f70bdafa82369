"""Fake replicas as processes start, are killed, restart on their ports and leave nothing."""

import asyncio

import pytest

from bench.fake_tei.oracle import text_of, vector_of
from bench.fake_tei.processes import FakesPlan, running
from embedfleet.errors import Refused
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from embedfleet.simulation.batch_cost import BatchCost

PLAN = FakesPlan(BatchCost(0.0005, 1e-7), count=2)
TEXT = text_of("one", 5)


def embed(port):
    url, body = f"http://127.0.0.1:{port}/embed", b'{"inputs":"%b"}' % TEXT.encode()
    return asyncio.run(fetch(url, method="POST", body=body, headers=[JSON], timeout_s=30))


def test_replicas_of_one_process_answer_and_are_ordered_about_one_by_one():
    with running(PLAN, 0) as fakes:
        for port in fakes.ports:
            assert embed(port).status == 200
        asyncio.run(fakes.order(1, kind="answer", answer="500"))
        assert [embed(port).status for port in fakes.ports] == [200, 500]
        assert [replica["counts"]["200"] for replica in asyncio.run(fakes.stats())] == [2, 1]
        log = asyncio.run(fakes.log())
        assert sorted((name, number) for name, number, _ in log) == [("one", 0), ("one", 0), ("one", 1), ("one", 1)]
        with pytest.raises(ValueError, match="apart"):
            fakes.kill(0)
        ports = fakes.ports
    for port in ports:
        with pytest.raises(Refused):
            embed(port)


def test_a_replica_that_was_killed_comes_back_on_its_port():
    with running(FakesPlan(PLAN.cost, count=2, apart=True), 0) as fakes:
        ports = fakes.ports
        fakes.kill(0)
        with pytest.raises(Refused):
            embed(ports[0])
        assert embed(ports[1]).status == 200
        fakes.restart(0)
        assert fakes.ports == ports
        assert embed(ports[0]).body == b"[[%b]]" % ",".join(map(str, vector_of(TEXT))).encode()


def test_one_that_stands_still_is_ended_all_the_same():
    with running(FakesPlan(PLAN.cost, count=1, apart=True), 0) as fakes:
        (port,) = fakes.ports
        fakes.stop(0)
    with pytest.raises(Refused):
        embed(port)
