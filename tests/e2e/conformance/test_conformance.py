"""Our engine and gateway answer as a real TEI did, except for differences kept on purpose."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.conformance.facts import Facts, learn
from bench.conformance.recording import Answer, Case, Request, kinds, read
from bench.conformance.suite import run_case, run_suite
from embedfleet.http.client import fetch
from tests.e2e.conformance.conftest import settings_of
from tests.services.engine import serving

ROOT = Path(__file__).parent.parent.parent.parent
CASES = {"embedder": 472, "reranker": 193, "classifier": 158, "splade": 22, "closed": 42, "strict": 71}
KEPT_BY_THE_ENGINE = {"/info": 10, "/docs/": 4, "/api-doc/openapi.json": 4, "/embed_sparse": 1, "/": 1}
OF_OTHER_MODELS = {"builtin": ("embedder", 440), "late": ("reranker", 180)}
KEPT_BY_THE_GATEWAY = {"embedder": 22, "reranker": 10, "classifier": 9, "splade": 7}


def test_all_recorded_cases_are_there():
    assert {kind: len(read(kind)) for kind in kinds()} == CASES


def test_the_engine_answers_as_tei_did(models):
    """Compared strictly with all recordings, by a new engine: metrics depend on earlier requests."""
    failed, kept = [], Counter()
    for recording in CASES:
        with serving(settings_of(recording, models)) as engine:
            for result in run_suite(engine.url, Facts(recording)):
                if result.is_failed:
                    failed.append((recording, result.case.name, result.difference))
                elif result.kept:
                    kept[result.case.request.path] += 1
    assert failed == []
    assert kept == KEPT_BY_THE_ENGINE


@pytest.mark.parametrize("recording", ["embedder", "reranker", "classifier", "splade"])
def test_the_gateway_before_it_does(address, recording):
    url = address(recording, "gateway")
    facts = learn(url)
    assert (facts.recording, facts.is_recorded, facts.is_gateway) == (recording, True, True)
    results = list(run_suite(url, facts))
    assert [(one.case.name, one.difference) for one in results if one.is_failed] == []
    assert sum(bool(one.kept) for one in results) <= KEPT_BY_THE_GATEWAY[recording]


@pytest.mark.parametrize("model", OF_OTHER_MODELS)
def test_with_another_model_the_form_of_the_answers_is_teis(address, model):
    url = address(model, "engine")
    facts = learn(url)
    recording, least = OF_OTHER_MODELS[model]
    assert (facts.recording, facts.is_recorded, facts.batch, facts.length) == (recording, False, 128, 256)
    results = list(run_suite(url, facts))
    assert [(one.case.name, one.difference) for one in results if one.is_failed] == []
    assert len(results) >= least


@pytest.mark.parametrize("model", OF_OTHER_MODELS)
def test_so_it_is_with_the_gateway_before_it(address, model):
    """Only the content type of `/metrics` differs: it is Prometheus' own."""
    url = address(model, "gateway")
    facts = learn(url)
    assert (facts.recording, facts.is_recorded, facts.is_gateway) == (OF_OTHER_MODELS[model][0], False, True)
    results = list(run_suite(url, facts))
    assert [(one.case.name, one.difference) for one in results if one.is_failed] == []
    kept = {one.case.name: one.kept for one in results if one.kept}
    assert kept["get /metrics"] == "the gateway has metrics of its own"
    assert len(kept) <= KEPT_BY_THE_GATEWAY[OF_OTHER_MODELS[model][0]]


def test_metrics_of_an_engine_that_was_asked_before_are_kept_as_such(address):
    url = address("reranker", "engine")
    (case,) = [case for case in read("reranker") if case.name == "get /metrics"]
    learn(url)
    assert "had answered nothing before" in run_case(url, case, Facts("reranker")).kept


def run_command(*arguments):
    command = [sys.executable, "-m", "bench.conformance", *arguments]
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_tells_what_differs_and_exits_so(address):
    url = address("splade", "engine")
    done = run_command(url)
    counts = json.loads(done.stdout.splitlines()[-1])["servers"][url]
    assert (done.returncode, counts["failed"], counts["recording"]) == (0, 0, "splade")
    assert counts["same"] + counts["kept"] == counts["cases"] == CASES["splade"]
    wrong = run_command(url, "--recording", "closed", "--loose")
    assert wrong.returncode == 1
    assert 'FAILED key none: POST /embed {"inputs": "red"}: status: TEI 401 \'\', this server 424' in wrong.stderr
    nobody = run_command("http://127.0.0.1:9")
    assert nobody.returncode == 2
    assert "127.0.0.1:9" in nobody.stderr


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (Answer(201), "status"),
        (Answer(200, body="x"), "body"),
        (Answer(200, (("x-other", "1"),)), "headers"),
    ],
)
@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_case_that_does_not_hold_is_told(address, answer, part, is_recorded):
    case = Case("wrong", Request("GET", "/health"), answer)
    result = run_case(address("embedder", "engine"), case, Facts("embedder", is_recorded))
    assert result.is_failed
    assert result.difference is not None
    assert result.difference.part == part


def test_a_client_that_asks_the_wrong_service_costs_no_replica_its_place(address):
    """A 424 for the wrong kind of model once counted as a failure, and three of them ejected the replica."""
    url = address("reranker", "gateway")

    async def ask(path, body):
        headers = [(b"content-type", b"application/json")]
        return (await fetch(url + path, method="POST", body=body, headers=headers, timeout_s=60)).status

    wrong = [asyncio.run(ask("/embed", b'{"inputs":["a","b"]}')) for _ in range(6)]
    assert wrong == [424] * 6
    assert asyncio.run(ask("/rerank", b'{"query":"q","texts":["a"]}')) == 200
