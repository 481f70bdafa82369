"""config.json as TEI reads it."""

from dataclasses import replace

import pytest

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import (
    AMPERE,
    BERT,
    embedder,
    ranker,
)
from tests.services.tei_verdicts import config, refused, written


def test_a_missing_class_or_model_type_follows_from_the_other():
    values, keys = written(embedder(config(architectures=...)), "config.json")
    assert (values["architectures"], keys) == (["BertModel"], {"architectures"})
    values, keys = written(embedder(config(model_type=...)), "config.json")
    assert (values["model_type"], keys) == ("bert", {"model_type"})
    assert refused(embedder(config(model_type=..., architectures=...)))[:2] == ("config.json", "model_type")
    assert refused(embedder(config(model_type=..., architectures=["OddModel"])))[:2] == ("config.json", "model_type")


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("hidden_dropout_prob", 0.1),
        ("initializer_range", 0.02),
        ("pad_token_id", 0),
        ("layer_norm_eps", 1e-12),
        ("type_vocab_size", 2),
        ("hidden_act", "gelu"),
    ],
)
@pytest.mark.parametrize("absent", [..., None])
def test_keys_that_transformers_fills_in_are_filled_in(key, default, absent):
    values, keys = written(embedder(config(**{key: absent})), "config.json")
    assert (values[key], keys) == (default, {key})
    assert values == BERT | {key: default}


def test_a_cross_encoder_without_labels_gets_those_that_transformers_gives():
    two = {"0": "LABEL_0", "1": "LABEL_1"}
    values, _ = written(ranker({"id2label": None, "label2id": None}, head=2), "config.json")
    assert (values["id2label"], values["label2id"]) == (two, {"LABEL_0": 0, "LABEL_1": 1})
    values, _ = written(ranker({"id2label": None, "label2id": None}), "config.json")
    assert values["id2label"] == {"0": "LABEL_0"}, "as many as the head has"
    values, _ = written(ranker({"label2id": None}), "config.json")
    assert values["label2id"] == {"LABEL_0": 0}


def test_labels_that_do_not_fit_the_head_are_refused():
    for changes, head in (({}, 3), ({"id2label": None, "num_labels": 5}, 1)):
        file, key, reason = refused(ranker(changes, head=head))
        assert (file, key) == ("config.json", "id2label")
        assert f"the head in the weights has {head}" in reason
    assert refused(ranker({"id2label": {"1": "x"}}))[:2] == ("config.json", "id2label")
    assert refused(ranker(head=0))[2].endswith("the weights have no classifier.weight")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"is_decoder": True}, "is_decoder"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_act": "mish"}, "hidden_act"),
        ({"hidden_size": 32.0}, "hidden_size"),
        ({"quantization_config": {"bits": 8}}, "quantization_config"),
        ({"architectures": "BertModel"}, "architectures"),
    ],
)
def test_values_that_tei_would_compute_differently_are_refused(changes, key):
    assert refused(embedder(config(**changes)))[:2] == ("config.json", key)


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh"])
def test_gelus_approximation_has_another_name_in_tei(name):
    values, keys = written(embedder(config(hidden_act=name)), "config.json")
    assert (values["hidden_act"], keys) == ("gelu", {"hidden_act"})


def test_the_class_of_an_unnamed_head_is_added():
    bare = {"architectures": ["BertModel"], "id2label": {"0": "x"}, "label2id": {"x": 0}}
    for changes in (bare, bare | {"architectures": None}):
        values, _ = written(ranker(changes), "config.json", replace(AMPERE, task="rerank"))
        assert values["architectures"] == ["BertForSequenceClassification"]
    unfit = judge(embedder(head=1), AMPERE)
    assert unfit.serves_as_it_is, "an embedder, whatever else its weights contain"


def test_a_model_that_cannot_do_what_the_service_is_for_is_refused():
    assert refused(embedder(), replace(AMPERE, task="rerank"))[:2] == ("config.json", "architectures")
    assert refused(ranker(), replace(AMPERE, task="embed"))[:2] == ("config.json", "architectures")
    three = {"id2label": {str(n): str(n) for n in range(3)}, "label2id": {str(n): n for n in range(3)}}
    assert refused(ranker(three, head=3), replace(AMPERE, task="rerank"))[:2] == ("config.json", "id2label")
    tokens = ranker({"architectures": ["BertForTokenClassification"]})
    assert "classifier of whole texts" in refused(tokens)[2]
