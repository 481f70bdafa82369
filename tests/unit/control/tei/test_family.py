"""Every family that TEI's README names is judged by the configuration of a published model."""

from dataclasses import replace

import pytest

from embedfleet.control.tei.family import FAMILIES, NO_DEFAULT
from embedfleet.control.tei.folder import judge
from embedfleet.model_folder.defaults import DEFAULTS
from tests.services.tei_folders import AMPERE, BERT, CPU, TURING, folder
from tests.services.tei_published import (
    EMBEDDERS,
    LABELS,
    MODERN,
    ON_GPUS_ALONE,
    RANKERS,
    name_of,
    published,
    rewritten_config,
)


def test_every_family_has_a_model_here():
    named = {config["model_type"] for config, _ in (*EMBEDDERS.values(), *RANKERS.values())}
    assert all(named & {*family.model_types} for family in FAMILIES)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_published_embedder_is_served_as_it_is_on_an_a100(name):
    verdict = judge(published(name), AMPERE)
    if name == name_of("mpnet"):  # its 514 positions begin after the padding, which TEI ignores
        assert verdict.files.keys() == {"sentence_bert_config.json"}
    else:
        assert verdict.serves_as_it_is, str(verdict)


@pytest.mark.parametrize("name", RANKERS)
def test_a_published_reranker_is_served_as_it_is(name):
    config, head = RANKERS[name]
    for target in (AMPERE, TURING, CPU):
        verdict = judge(folder({"config.json": config}, head=1, head_name=head), replace(target, task="rerank"))
        assert verdict.serves_as_it_is, str(verdict)


@pytest.mark.parametrize("name", EMBEDDERS)
@pytest.mark.parametrize("target", [TURING, CPU, replace(AMPERE, dtype="float32")], ids=["T4", "CPU", "float32"])
def test_where_there_is_no_flash_attention_some_are_refused(name, target):
    refusals = judge(published(name), target).refusals
    kind = EMBEDDERS[name][0]["model_type"]
    assert [refusal.key for refusal in refusals] == (["model_type"] if kind in ON_GPUS_ALONE else [])
    assert all("flash attention" in refusal.reason for refusal in refusals)


@pytest.mark.parametrize(
    ("kind", "before"),
    [("modernbert", (1, 6, 1)), ("qwen3", (1, 7, 1)), ("gemma3_text", (1, 8, 0)), ("llama_bidirec", (1, 8, 3))],
)
def test_a_release_without_the_family_is_refused_with_a_hint(kind, before):
    (refusal,) = judge(published(name_of(kind)), replace(AMPERE, version=before)).refusals
    assert "a newer tei_version" in refusal.hint


def test_gemma_computes_in_float32_alone():
    (refusal,) = judge(published(name_of("gemma3_text")), replace(AMPERE, dtype="float16")).refusals
    assert refusal.key == "dtype"


@pytest.mark.parametrize("kind", ["albert", "electra", "t5", "deberta", "gpt2", "eurobert"])
def test_a_family_that_tei_lacks_is_refused_by_name(kind):
    (refusal,) = judge(folder({"config.json": BERT | {"model_type": kind}}), replace(AMPERE, pooling="mean")).refusals
    assert (refusal.key, kind in refusal.reason) == ("model_type", True)
    assert "our own engine" in refusal.hint


@pytest.mark.parametrize("name", ["mpnet", "nomic_bert", "mistral", "qwen3", "gemma3_text"])
def test_a_classifier_of_a_family_without_one_is_refused(name):
    config = EMBEDDERS[name_of(name)][0] | LABELS
    config |= {"architectures": [f"{config['architectures'][0].partition('For')[0]}ForSequenceClassification"]}
    assert "TEI has no classifier of this family" in str(judge(folder({"config.json": config}, head=1), AMPERE))


@pytest.mark.parametrize(
    ("kind", "changes", "key"),
    [
        ("gemma3_text", {"use_bidirectional_attention": ...}, "use_bidirectional_attention"),
        ("gemma3_text", {"layer_types": ["full_attention"] * 24}, "layer_types"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window"),
        ("modernbert", {"norm_bias": True}, "norm_bias"),
        ("new", {"position_embedding_type": "absolute"}, "position_embedding_type"),
        ("nomic_bert", {"rotary_emb_fraction": 0.5}, "rotary_emb_fraction"),
        ("nomic_bert", {"n_embd": ...}, "n_embd"),
    ],
)
def test_values_that_tei_would_compute_as_another_model_are_refused(kind, changes, key):
    assert [refusal.key for refusal in judge(published(name_of(kind), **changes), AMPERE).refusals] == [key]


def test_a_modernberts_labels_are_counted_for_tei():
    three = {"id2label": {str(n): str(n) for n in range(3)}, "label2id": {str(n): n for n in range(3)}}
    config = MODERN | three | {"architectures": ["ModernBertForSequenceClassification"]}
    assert rewritten_config(folder({"config.json": config}, head=3))["num_labels"] == 3


def test_gtes_second_class_without_labels_is_removed():
    values = rewritten_config(published(name_of("new"), architectures=["NewModel", "NewForTokenClassification"]))
    assert values["architectures"] == ["NewModel"]


def test_the_defaults_are_those_of_transformers():
    """Keys that the library lacks, or has no value for, are left out: TEI alone defines them."""
    from transformers import AutoConfig

    own = {("qwen3", "eos_token_id"), ("deberta-v2", "pos_att_type")}
    held = 0
    for family in FAMILIES:
        for kind in family.model_types:
            if kind in {"new", "gte", "nomic_bert", "llama_bidirec"}:  # code of their own
                continue
            library = AutoConfig.for_model(kind)
            for name, key in family.keys.items():
                default = DEFAULTS.get(kind, {}).get(name, key.default)
                assert default is not NO_DEFAULT
                if (kind, name) not in own:
                    assert getattr(library, name) == default, f"{kind}: {name}"
                    held += 1
    assert held > 100
