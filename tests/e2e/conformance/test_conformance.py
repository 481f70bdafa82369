"""Every case of the suite, at our engine and at our gateway before it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.conformance.case import Case, Facts
from bench.conformance.cases import cases
from bench.conformance.suite import learn, run_case
from embedfleet.http.client import fetch

ROOT = Path(__file__).parent.parent.parent.parent
KINDS = {
    "embedding": Facts("embedding"),
    "reranker": Facts("reranker"),
    "classifier": Facts("classifier", labels=3),
    "splade": Facts("splade"),
}
NAMED = [(kind, case.name) for kind, facts in KINDS.items() for case in cases(facts)]


@pytest.mark.parametrize("server", ["engine", "gateway"])
@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_it_answers_as_tei_does(address, server, kind, name):
    url = address(kind, server)
    facts = asyncio.run(learn(url))
    assert (facts.kind, facts.is_gateway) == (kind, server == "gateway")
    (case,) = [case for case in cases(facts) if case.name == name]
    assert asyncio.run(run_case(url, case, facts)).faults == []


def test_names_are_unique():
    for facts in KINDS.values():
        names = [case.name for case in cases(facts)]
        assert len(names) == len(set(names))


def test_the_command_tells_what_failed_and_exits_so(address):
    url = address("embedding", "engine")
    command = [sys.executable, "-m", "bench.conformance"]
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run([*command, url], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    counts = json.loads(done.stdout.splitlines()[-1])["servers"][url]
    assert (done.returncode, counts["failed"], counts["kind"]) == (0, 0, "embedding")
    assert counts["passed"] == counts["cases"] > 90
    nobody = subprocess.run(
        [*command, "http://127.0.0.1:9"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert nobody.returncode != 0
    assert "127.0.0.1:9" in nobody.stderr


def test_a_case_that_does_not_hold_is_told(address):
    url = address("embedding", "engine")
    wrong = Case("wrong", "GET", "/health", content_type=None, status=201)
    facts = asyncio.run(learn(url))
    assert asyncio.run(run_case(url, wrong, facts)).faults == ["status 200, expected 201"]


def test_a_client_that_asks_the_wrong_service_costs_no_replica_its_place(address):
    """424 for what the model is not made for counted as a failure: three of them, and the replica was out."""
    url = address("reranker", "gateway")

    async def ask(path, body):
        headers = [(b"content-type", b"application/json")]
        return (await fetch(url + path, method="POST", body=body, headers=headers, timeout_s=60)).status

    wrong = [asyncio.run(ask("/embed", b'{"inputs":["a","b"]}')) for _ in range(6)]
    assert wrong == [424] * 6
    assert asyncio.run(ask("/rerank", b'{"query":"q","texts":["a"]}')) == 200
