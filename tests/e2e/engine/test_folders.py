"""`embedfleet engine` as a process serves model folders as users have them, and gives the libraries' numbers."""

import asyncio

import numpy as np
import orjson
import pytest

from embedfleet.http.client import fetch
from tests.services.folder_cases import CASES
from tests.services.folders import QUERY, TEXTS, Folders, expected
from tests.services.verb import LIMIT_S, verb

WILD = (
    "the hub's cache",
    "the hub's cache, a reranker",
    "linked weights",
    "length of the tokenizer",
    "length of a reranker",
    "vocab.txt",
    "two labels",
    "one label by its number",
    "a head that is not named",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return Folders(tmp_path_factory.mktemp("folders"))


def ask(port, path, value):
    """Post a value; returns the answer."""
    headers = [(b"content-type", b"application/json")]
    body = orjson.dumps(value)
    reply = asyncio.run(
        fetch(f"http://127.0.0.1:{port}{path}", method="POST", body=body, headers=headers, timeout_s=LIMIT_S)
    )
    assert reply.status == 200, reply.body
    return orjson.loads(reply.body)


def numbers(port, task):
    """The numbers that the task's route gives for each text, before sigmoid, softmax and normalisation."""
    if task == "rerank":
        rows = ask(port, "/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True})
        return [row["score"] for row in sorted(rows, key=lambda row: row["index"])]
    if task == "predict":
        rows = ask(port, "/predict", {"inputs": [[QUERY, text] for text in TEXTS], "raw_scores": True})
        return [[entry["score"] for entry in sorted(row, key=lambda entry: entry["label"])] for row in rows]
    return ask(port, "/embed", {"inputs": TEXTS, "normalize": False})


@pytest.mark.parametrize("name", WILD)
def test_it_is_served_as_the_libraries_compute_it(folders, name):
    case = CASES[name]
    folder = folders.home / name
    case.make(folders, folder)
    task = ["--task", "rerank"] if case.task == "rerank" else []
    with verb("engine", "--model", str(folder), *task) as engine:
        found = numbers(engine.port, case.task)
    np.testing.assert_allclose(found, expected(folder, case), atol=1e-5, rtol=1e-5)
