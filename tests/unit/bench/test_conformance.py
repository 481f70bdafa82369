"""The recorded models and requests are made again as they were; what is compared of an answer."""

import hashlib

import orjson
import pytest

from bench.conformance.comparison import difference
from bench.conformance.facts import Facts, recorded_facts
from bench.conformance.foreign import adapted, formal_difference
from bench.conformance.kept import reason
from bench.conformance.models import write_models
from bench.conformance.recording import Answer, Case, Request, kinds, read

# Of the files that the recordings were taken with: other numbers, or another vocabulary, would answer otherwise.
DIGESTS = {
    "embedder/model.safetensors": "b25d9ca26743f3e4",
    "reranker/model.safetensors": "7a2596570f4f99d7",
    "classifier/model.safetensors": "9abef867a1d43dd3",
    "splade/model.safetensors": "3d36bd121967478b",
}
MINILM = Facts("embedder", is_recorded=False, batch=128, length=256, dimensions=384)


def test_the_models_are_those_that_were_recorded(tmp_path):
    write_models(tmp_path / "models")
    found = {name: hashlib.sha256((tmp_path / "models" / name).read_bytes()).hexdigest()[:16] for name in DIGESTS}
    assert found == DIGESTS


def test_a_long_body_is_made_again_to_the_byte():
    lengths = {
        case.name: len(case.request.body) for kind in kinds() for case in read(kind) if len(case.request.body) > 20_000
    }
    assert lengths == {
        "payload at 2 MB": 1_999_994,
        "payload over 2 MB": 2_000_114,
        **{f"{path} larger": 240_014 for path in ("/", "/embed", "/embed_all", "/tokenize")},
        "/v1/embeddings larger": 240_013,
    }


def case_of(name, recording="embedder"):
    (found,) = [case for case in read(recording) if case.name == name]
    return found


@pytest.mark.parametrize("recording", kinds())
def test_an_answer_is_its_own_and_no_other(recording):
    for case in read(recording):
        assert difference(case, case.answer) is None
        assert formal_difference(case, case.answer) is None
        other = Answer(case.answer.status + 1, case.answer.headers, case.answer.body)
        assert case.died or difference(case, other).part == "status"


def swap_prompts(body):
    """TEI names them in any order."""
    return body.replace('passage\\", \\"query', 'query\\", \\"passage')


@pytest.mark.parametrize(
    ("name", "change", "is_strict", "is_loose", "is_formal"),
    [
        ("/embed plain", lambda body: body.replace("-0.097183205", "-0.098"), False, False, False),
        ("/embed plain", lambda body: body.replace("-0.097183205", "-0.197"), True, True, False),
        ("/embed plain", lambda body: body.replace("-0.097183205", "null"), True, True, True),
        ("/embed two", lambda body: body[: body.index("],[")] + "]]", True, True, True),
        ("/embed truncate number", lambda body: body.replace("column 31", "column 32"), True, False, True),
        ("/embed truncate number", lambda body: body.replace("boolean", "string"), True, True, True),
        ("/embed body cut", lambda body: body.replace("EOF while", "end when"), True, False, True),
        ("/embed prompt unknown", swap_prompts, False, False, False),
        ("/embed long not", lambda body: body.replace("32 tokens", "512 tokens"), True, True, False),
        ("/v1/embeddings base64", lambda body: body.replace("/QfHvT3o", "AAAAAAAA"), True, True, False),
        ("/tokenize plain", lambda body: body.replace('"special"', '"is_special"'), True, True, True),
        ("get /info", lambda body: body.replace('"model_id":"embedder"', '"model_id":"other"'), True, False, False),
        ("get /info", lambda body: body.replace('"auto_truncate":true,', ""), True, True, True),
    ],
)  # fmt: skip
def test_what_counts_as_a_difference(name, change, is_strict, is_loose, is_formal):
    case = case_of(name)
    got = Answer(case.answer.status, case.answer.headers, change(case.answer.body))
    assert got != case.answer
    found = difference(case, got), difference(case, got, loose=True), formal_difference(case, got)
    assert [one is not None for one in found] == [is_strict, is_loose, is_formal]


def test_requests_go_to_another_servers_limits():
    recorded = recorded_facts("embedder")
    assert (recorded.batch, recorded.length) == (32, 32)

    def sent(name):
        case = adapted(case_of(name), MINILM, recorded)
        return None if case is None else orjson.loads(case.request.body)

    assert len(sent("/embed 32")["inputs"]) == 128
    assert len(sent("/embed 33")["inputs"]) == 129
    assert len(sent("/similarity 31")["inputs"]["sentences"]) == 127
    assert len(sent("/embed long")["inputs"].split()) == 800
    assert (sent("/embed dims 32")["dimensions"], sent("/embed dims 33")["dimensions"]) == (384, 385)
    assert sent("/embed plain") == {"inputs": "red"}
    assert sent("/embed prompt") is None
    assert sent("/embed exact") is None
    assert adapted(case_of("/embed id too large"), MINILM, recorded) is None


def test_what_is_kept_has_a_reason_and_nothing_else_has():
    case = case_of("/embed 33")
    found = difference(case, Answer(200))
    assert reason("embedder", case, found) == ""
    assert "splits batches" in reason("embedder", case, found, is_gateway=True)
    health = Case("x", Request("GET", "/health"), Answer(200))
    assert reason("embedder", health, difference(health, Answer(200, (("x-chunks", "1"),))), is_gateway=True)
    assert reason("embedder", health, difference(health, Answer(200, (("x-other", "1"),))), is_gateway=True) == ""
