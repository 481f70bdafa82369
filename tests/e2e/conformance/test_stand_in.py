"""The fake TEI with a model answers as the recorded TEI, and so does a gateway before it, apart from its purpose."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from bench.conformance.asking import ask, wait_for
from bench.conformance.comparison import difference
from bench.conformance.facts import learn
from bench.conformance.models import write_models
from bench.conformance.recording import Answer, Case, Request, read
from bench.conformance.suite import run_suite
from embedfleet.types import Endpoint
from tests.services.gateway import in_a_thread
from tests.services.stand_in import stand_in

ROOT = Path(__file__).parent.parent.parent.parent
STRICT = {
    "auto_truncate": False,
    "client_batch": 3,
    "payload_bytes": 2000,
    "prompt_name": "query",
    "served_name": "river",
}
STARTED: dict[str, tuple[str, dict]] = {
    "embedder": ("embedder", {}),
    "reranker": ("reranker", {}),
    "classifier": ("classifier", {}),
    "splade": ("splade", {"pooling": "splade"}),
    "closed": ("embedder", {"api_key": "secret"}),
    "strict": ("embedder", STRICT),
}
OWN_PAGES = {"/metrics", "/docs/", "/api-doc/openapi.json"}  # whose text is nobody's but TEI's
TEI_IS_WRONG = {"/embed_sparse two", "/ two"}  # of SPLADE: padding takes part in its maximum

# What our gateway answers otherwise on purpose, as docs/conformance.md tells.
INFO = {"get /info", "/info", "info", "traceparent"}
ANY_SIZE = {
    *(f"{path} 33" for path in ("/embed", "/embed_all", "/", "/invocations", "/v1/embeddings", "/embeddings")),
    *("/similarity 32", "/rerank 33", "/predict 33", "/embed_sparse 33"),
    *(f"{path} 4" for path in ("/embed", "/embed_all", "/", "/v1/embeddings")),
}
NULLS = {
    *("/embed truncation_direction null", "/embed normalize null"),
    *("/rerank truncation_direction null", "/rerank raw_scores null", "/rerank return_text null"),
    *("/predict raw_scores null", "/v1/embeddings format null", "/embeddings format null"),
    *("/tokenize special null", "/decode skip null"),
}
OWN_FIELDS = {"x-chunks"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="module")
def servers(folders) -> Iterator:
    """A function from a recording to its fake TEI, started for the first test that needs it."""
    found: dict[str, str] = {}
    with ExitStack() as stack:

        def start(kind: str) -> str:
            if kind not in found:
                model, settings = STARTED[kind]
                found[kind] = stack.enter_context(stand_in(folders / model, **settings))
            return found[kind]

        yield start


def told(case: Case, got: Answer) -> str:
    found = difference(case, got, loose=case.request.target in OWN_PAGES)
    return "" if found is None else f"{case.name}: {found.part}: {found.told}"


@pytest.mark.parametrize("kind", STARTED)
def test_the_stand_in_answers_what_tei_was_recorded_to_answer(servers, kind):
    url, wrong, asked = servers(kind), [], 0
    for case in read(kind):
        wait_for(url)
        got = ask(url, case.request)
        asked += 1
        if case.died:
            assert got.status == 0, case.name
        elif kind != "splade" or case.name not in TEI_IS_WRONG:
            wrong.append(told(case, got))
    assert list(filter(None, wrong)) == []
    assert asked > 20


@pytest.mark.parametrize(
    ("recording", "kind"),
    [("embedder", "embedding"), ("reranker", "reranker"), ("classifier", "classifier"), ("splade", "splade")],
)
def test_without_a_folder_its_form_is_teis(recording, kind):
    """Except as `bench.fake_tei` says: every call is answered, every prompt is known, an id is a code point."""
    with stand_in(None, kind=kind) as url:
        results = list(run_suite(url, learn(url)))
    wrong = [(one.case.name, one.difference) for one in results if one.is_failed]
    assert [one for one in wrong if not re.search(r" asked to | ids|^/\S+ prompt|^/ prompt", one[0])] == []
    assert len(results) > 20


@pytest.mark.parametrize("kind", [kind for kind in STARTED if kind != "closed"])  # a gateway has no key to show
def test_the_gateway_before_it_differs_in_what_it_is_for_alone(servers, kind):
    on_purpose = INFO | ANY_SIZE | NULLS | (TEI_IS_WRONG if kind == "splade" else set())
    differing = {}
    with in_a_thread(Endpoint("a", servers(kind))) as port:
        for case in read(kind):
            got = ask(f"http://127.0.0.1:{port}", case.request)
            if case.died:
                assert (case.name, got.status) == ("/embed id too large", 422)  # and nobody dies of it
                continue
            headers = tuple(field for field in got.headers if field[0].lower() not in OWN_FIELDS)
            differing[case.name] = told(case, Answer(got.status, headers, got.body))
            if case.name in ANY_SIZE | NULLS:
                assert got.status == 200, case.name
    found = {name for name, difference in differing.items() if difference}
    assert [differing[name] for name in found - on_purpose] == []
    assert found == on_purpose & differing.keys()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"inputs": [999_999]}),
        ("/", {"inputs": [[5], [142, 9_000]]}),
        ("/invocations", {"inputs": [2**32 - 1]}),
        ("/embed_all", {"inputs": ["red", [999_999]]}),
        ("/v1/embeddings", {"input": [999_999]}),
        ("/embeddings", {"input": [[999_999]]}),
        ("/vertex", {"instances": [{"inputs": "red"}, {"inputs": [999_999]}]}),
    ],
)
def test_the_stand_in_dies_of_ids_of_which_none_is_in_the_vocabulary(servers, path, body):
    url = servers("embedder")
    wait_for(url)
    asked = Request("POST", path, (("content-type", "application/json"),), orjson.dumps(body))
    assert ask(url, asked).status == 0
    wait_for(url)
    fields = {"inputs": [5, 999_999, 6]} if "inputs" in body else {"inputs": [5, 6, 999_999]}
    alive = ask(url, Request("POST", "/embed", asked.headers, orjson.dumps(fields)))
    assert alive.status == 200  # what is left is text
    assert dict(alive.headers)["x-compute-characters"] == "3"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A function from a kind of model to a fake TEI whose tokenizer adds no special tokens, as many decoders' do."""
    folder = tmp_path_factory.mktemp("bare")
    write_models(folder)
    for file in folder.glob("*/tokenizer.json"):
        file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | {"post_processor": None}))
    found: dict[str, str] = {}
    with ExitStack() as stack:

        def start(kind: str) -> str:
            if kind not in found:
                found[kind] = stack.enter_context(stand_in(folder / kind))
            return found[kind]

        yield start


@pytest.mark.parametrize("nothing", ["  ", "\n", "\x07", "\u200b\u00ad"])
@pytest.mark.parametrize(
    ("kind", "path", "make"),
    [
        ("embedder", "/embed", lambda text: {"inputs": text}),
        ("embedder", "/embed_all", lambda text: {"inputs": ["red", text]}),
        ("embedder", "/embeddings", lambda text: {"input": [text]}),
        ("embedder", "/similarity", lambda text: {"inputs": {"source_sentence": "red", "sentences": [text]}}),
        ("embedder", "/similarity", lambda text: {"inputs": {"source_sentence": text, "sentences": ["red"]}}),
        ("reranker", "/rerank", lambda text: {"query": text, "texts": ["red", text]}),
        ("classifier", "/predict", lambda text: {"inputs": [["red"], [text]]}),
        ("classifier", "/predict", lambda text: {"inputs": [text, text]}),
    ],
)
def test_it_dies_of_texts_of_which_such_a_tokenizer_makes_no_token(bare, kind, path, make, nothing):
    url, fields = bare(kind), (("content-type", "application/json"),)
    statuses = []
    for text in (nothing, "green"):
        wait_for(url)
        statuses.append(ask(url, Request("POST", path, fields, orjson.dumps(make(text)))).status)
    assert statuses == [0, 200]


def test_it_does_not_die_of_what_it_refuses(servers):
    """Ids outside of the vocabulary are refused without a death."""
    for kind, path, status in (
        ("reranker", "/embed", 424),
        ("classifier", "/embed_all", 424),
        ("embedder", "/decode", 200),
    ):
        url = servers(kind)
        wait_for(url)
        body = orjson.dumps({"inputs": [999_999], "ids": [999_999]})
        got = ask(url, Request("POST", path, (("content-type", "application/json"),), body))
        assert got.status == status


def test_it_is_started_as_tei_is(folders):
    flags = [
        *("--auto-truncate", "false", "--max-client-batch-size", "3", "--payload-limit", "2000", "--api-key", "secret"),
        *("--default-prompt-name", "query", "--served-model-name", "river", "--model", "embedder", "--a-ms", "0.1"),
    ]
    command = [sys.executable, "-m", "bench.fake_tei", "--folder", str(folders / "embedder"), *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            (port,) = json.loads(process.stdout.readline())["ports"]
            url = f"http://127.0.0.1:{port}"
            cases = {case.name: case for case in read("strict")}
            key = ("authorization", "Bearer secret")
            for name in ("info", "/embed one", "/embed 4", "/embed long", "/embed large", "/v1/embeddings one"):
                request = cases[name].request
                assert ask(url, request).status == (413 if name == "/embed large" else 401)
                opened = Request(request.method, request.target, (*request.headers, key), request.body)
                assert told(cases[name], ask(url, opened)) == ""
            deadly = Request("POST", "/embed", (("content-type", "application/json"), key), b'{"inputs":[999999]}')
            assert ask(url, deadly).status == 0
            assert process.wait(30) == 134  # as of one that aborts
        finally:
            process.kill()
