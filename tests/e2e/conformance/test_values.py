"""Our numbers differ from a recorded TEI's by candle's GELU and little else (docs/conformance.md)."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.conformance.asking import ask
from bench.conformance.models import write_models
from bench.conformance.recording import Case, read
from tests.services.stand_in import stand_in

CANDLES = "gelu_new"  # what transformers calls the approximation by tanh
LONG = 10_000  # bytes
SPLADE_BESIDE_A_LONGER_ONE = {"/embed_sparse two", "/ two"}


def numbers(value) -> list[float]:
    """All numbers of an answer in order; for SPLADE one per word of the vocabulary."""
    if isinstance(value, float):
        return [value]
    if isinstance(value, list) and value and isinstance(value[0], dict) and value[0].keys() == {"index", "value"}:
        weights = np.zeros(200)
        for row in value:
            weights[row["index"]] = row["value"]
        return weights.tolist()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [number for item in items for number in numbers(item)]


def values(case: Case) -> list[float]:
    body = case.answer.body
    return (
        numbers(orjson.loads(body)) if case.answer.status == 200 and isinstance(body, str) and body[:1] in "[{" else []
    )


def asked(kind: str) -> list[Case]:
    """The cases whose answers have numbers, each body once."""
    cases = {
        (case.request.path, case.request.body): case
        for case in read(kind)
        if len(case.request.body) < LONG and not case.died
    }
    return [case for case in cases.values() if case.request.method == "POST" and values(case)]


@pytest.fixture(scope="module")
def worst(tmp_path_factory):
    """A function from activation, kind of model and routes to the largest difference from a recorded number."""
    folders = {act: tmp_path_factory.mktemp(act) for act in ("gelu", CANDLES)}
    for act, folder in folders.items():
        write_models(folder)
        for config in folder.glob("*/config.json"):
            config.write_text(config.read_text().replace('"hidden_act": "gelu"', f'"hidden_act": "{act}"'))
    with ExitStack() as stack:
        found: dict[tuple[str, str], str] = {}

        def compare(act: str, kind: str, cases: list[Case]) -> float:
            if (act, kind) not in found:
                pooling = "splade" if kind == "splade" else "auto"
                found[act, kind] = stack.enter_context(stand_in(Path(folders[act], kind), pooling))
            url = found[act, kind]
            answers = [(values(case), numbers(orjson.loads(str(ask(url, case.request).body)))) for case in cases]
            assert all(len(theirs) == len(ours) for theirs, ours in answers)
            return max(float(np.abs(np.subtract(theirs, ours)).max()) for theirs, ours in answers)

        yield compare


@pytest.mark.parametrize("kind", ["embedder", "reranker", "classifier", "splade"])
def test_with_the_activation_that_candle_computes_our_numbers_are_teis(worst, kind):
    left_out = {"/similarity"} if kind == "embedder" else set()  # below
    cases = [
        case
        for case in asked(kind)
        if case.request.path not in left_out and not (kind == "splade" and case.name in SPLADE_BESIDE_A_LONGER_ONE)
    ]
    assert len(cases) > 2
    assert worst(CANDLES, kind, cases) < 1e-5
    assert 1e-5 < worst("gelu", kind, cases) < 2e-3  # and the exact one is what separates them


def test_tei_takes_an_approximate_root_in_similarity(worst):
    """TEI's recorded similarity differs from the cosine of its own recorded vectors."""
    recorded = {case.name: case for case in read("embedder")}
    red, green = orjson.loads(str(recorded["/embed two"].answer.body))
    (said, *_) = orjson.loads(str(recorded["/similarity plain"].answer.body))
    cosine = np.dot(red, green) / np.linalg.norm(red) / np.linalg.norm(green)
    assert 1e-5 < abs(said - cosine) < 1e-4
    cases = [case for case in asked("embedder") if case.request.path == "/similarity"]
    assert 1e-5 < worst(CANDLES, "embedder", cases) < 1e-4


def test_tei_on_a_cpu_lets_padding_into_splades_maximum(worst):
    """In TEI a text's weights depend on its batch; ours are those of the text alone."""
    cases = [case for case in asked("splade") if case.name in SPLADE_BESIDE_A_LONGER_ONE]
    assert cases
    assert worst(CANDLES, "splade", cases) > 0.4
