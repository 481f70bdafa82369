"""The files of a model folder show the kind of its model, and so whether the model suits its service."""

import pytest

from embedfleet.control.preflight.model_kind import Kind, kind_of, misplaced
from tests.services.tei_folders import embedder, modules, ranker


def kind(found, pooling="auto"):
    return kind_of(found, found.json["config.json"], pooling)


LABELS = {"id2label": {"0": "a", "1": "b"}}
UNNAMED = {"architectures": ["BertModel"], "id2label": None}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (embedder(), Kind.EMBEDDER),
        (embedder(head=1), Kind.EMBEDDER),  # it pools, whatever else its weights contain
        (embedder({"modules.json": None, "1_Pooling/config.json": None}), Kind.EMBEDDER),
        (ranker(), Kind.RERANKER),
        (ranker({"id2label": None}), Kind.RERANKER),  # its head has one row
        (ranker({"id2label": None, "num_labels": 3}), Kind.CLASSIFIER),
        (ranker({"id2label": None}, head=0), Kind.CLASSIFIER),  # of two labels, by transformers' default
        (ranker(LABELS, head=2), Kind.CLASSIFIER),
        (ranker(UNNAMED), Kind.RERANKER),
        (ranker(UNNAMED, head=3), Kind.CLASSIFIER),
        (ranker({"architectures": "BertModel", "id2label": None}, head=0), Kind.EMBEDDER),
        (ranker({"architectures": ["Qwen3ForCausalLM"], "id2label": None}, head=0), Kind.LANGUAGE),
        (embedder({"modules.json": modules("MLMTransformer", "SpladePooling")}), Kind.SPLADE),
    ],
)
def test_the_folder_shows_the_kind(found, wanted):
    assert kind(found) is wanted


def test_a_pooling_in_the_settings_counts():
    bare = ranker({"architectures": ["BertForMaskedLM"], "id2label": None}, head=0)
    assert (kind(bare, "splade"), kind(ranker(UNNAMED), "mean")) == (Kind.SPLADE, Kind.EMBEDDER)


@pytest.mark.parametrize(
    ("of", "service", "task", "by_tei", "what"),
    [
        (Kind.RERANKER, "embedder", "auto", True, "cannot embed with a reranker: /embed answers 424"),
        (Kind.CLASSIFIER, "embedder", "auto", False, "cannot embed with a classifier: /embed answers 424"),
        (Kind.CLASSIFIER, "other", "embed", False, "cannot embed with a classifier"),
        (Kind.EMBEDDER, "reranker", "auto", True, "cannot rank with this embedder in TEI: /rerank answers 424"),
        (Kind.CLASSIFIER, "reranker", "auto", True, "cannot rank with this classifier in TEI: /rerank answers 424"),
        (Kind.EMBEDDER, "reranker", "rerank", False, ""),  # our engine may rank by late interaction
        (Kind.EMBEDDER, "embedder", "auto", True, ""),
        (Kind.SPLADE, "embedder", "auto", True, ""),
        (Kind.RERANKER, "reranker", "rerank", True, ""),
        (Kind.RERANKER, "other", "auto", True, ""),
        (Kind.RERANKER, "embedder", "rerank", True, ""),
    ],
)
def test_a_model_that_does_not_suit_its_service_is_a_warning(of, service, task, by_tei, what):
    said, hint = misplaced(of, service, task, by_tei=by_tei)
    assert said.endswith(what) if what else not said
    assert bool(hint) == bool(what)
