"""Odd requests and damaged folders get well-formed answers, and the server goes on."""

import asyncio
import json
import subprocess
import sys

import pytest

from bench.fuzz.folders import KINDS, make_files
from bench.fuzz.loading import chosen
from bench.fuzz.mutation import Request
from bench.fuzz.numbers import Numbers
from bench.fuzz.run import fuzz, judge
from embedfleet.http.client import Reply


@pytest.mark.parametrize("server", ["engine", "gateway"])
@pytest.mark.parametrize("kind", ["embedder", "reranker", "classifier", "splade"])
def test_no_odd_request_is_answered_badly(address, kind, server):
    assert asyncio.run(fuzz(address(kind, server), Numbers(1, cases=150))) == []


def test_a_seed_makes_the_same_requests_again(address):
    url = address("embedder", "engine")
    sent: list[list[Request]] = []
    for _ in range(2):
        from random import Random

        from bench.fuzz.mutation import mutated

        good = Request("POST", "/embed", b'{"inputs":["a","b"]}', "application/json")
        sent.append([mutated(good, Random(f"7.{number}")) for number in range(50)])
    assert sent[0] == sent[1]
    assert len({request.body for request in sent[0]}) > 20
    assert asyncio.run(fuzz(url, Numbers(7, cases=3))) == []


@pytest.mark.parametrize(
    ("reply", "is_bad"),
    [
        (Reply(200, {"content-type": "application/json"}, b"[[1]]"), False),
        (Reply(422, {"content-type": "text/plain"}, b"no"), False),
        (Reply(200, {"content-type": "application/json"}, b"[[1"), True),
        (Reply(500, {}, b""), True),
        (Reply(302, {}, b""), True),
        (Reply(303, {"location": "/docs/"}, b""), False),
    ],
)
def test_what_a_bad_answer_is(reply, is_bad):
    assert bool(judge(reply)) is is_bad


def test_an_answer_to_head_has_no_body():
    assert judge(Reply(200, {"content-type": "application/json"}, b""), "HEAD") == ""


def test_cases_begin_where_they_are_asked_to_and_end_with_the_time():
    assert list(Numbers(first=5, cases=3)) == [5, 6, 7]
    assert list(Numbers(seconds=0)) == []
    assert next(iter(Numbers(seconds=60))) == 0


def test_damaged_folders_are_served_or_refused():
    """Run in a separate process, because it starts a process for each case."""
    command = [sys.executable, "-m", "bench.fuzz", "folder", "--cases", "60", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["cases"], report["found"]) == (60, 0)
    assert 0 < report["served"] < 60


def test_a_seed_damages_a_folder_in_the_same_way_again():
    sound = {name: make_files(kind) for name, kind in KINDS.items()}
    again = {name: make_files(kind) for name, kind in KINDS.items()}
    cases = [chosen(sound, Numbers(3).chance(number)) for number in range(60)]
    assert cases == [chosen(again, Numbers(3).chance(number)) for number in range(60)]
    assert all(files != sound[name] for name, files, _ in cases[:5])
