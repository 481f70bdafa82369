"""Every family equals transformers on small seeded models: alone, in mixed batches, truncated, and at full length."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedfleet.engine.families.registry import MODEL_TYPES
from embedfleet.engine.model.spec import Pooling
from embedfleet.errors import ModelError
from tests.services.family_models import (
    BACKENDS,
    FAMILIES,
    LONGEST,
    PAIRS,
    TEXTS,
    TOLERANCE,
    Reference,
    check,
    compute,
    rewritten,
    save,
    splade,
)
from tests.services.jina import SLOPES, JinaReference, make_jina


def having(head: str) -> list[str]:
    return [family for family, made in FAMILIES.items() if head in made.heads]


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[..., Path]:
    """Makes a family's model once for all tests of this module."""
    made: dict[tuple[str, ...], Path] = {}

    def make(family: str, head: str, **config: object) -> Path:
        key = (family, head, json.dumps(config))
        if key not in made:
            made[key] = save(tmp_path_factory.mktemp("model"), FAMILIES[family], head, config)
        return made[key]

    return make


def test_every_family_is_compared_here():
    elsewhere = {"jina_bert", "llama_bidirec", "bidirectional_pplx_qwen3"}
    assert {*FAMILIES} | elsewhere == set(MODEL_TYPES)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_alone_and_beside_strangers_of_any_length(make, family):
    folder = make(family, "Model")
    check(folder, [TEXTS, *([text] for text in TEXTS)], Reference(folder))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("direction", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_what_is_cut_to_the_longest_input(make, family, direction, backend):
    folder, text = make(family, "Model"), "one two three four " * 30
    ((answer,),) = compute(folder, [[f"start {text} end"]], direction=direction, backend=backend)
    encoded, states = answer
    assert len(encoded.ids) == LONGEST
    np.testing.assert_allclose(states, Reference(folder)(encoded), atol=TOLERANCE)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize(
    "family", [name for name, made in FAMILIES.items() if "ForSequenceClassification" in made.heads]
)
def test_a_classifier_of_several_labels_and_a_reranker_of_one(make, family, labels):
    folder = make(family, "ForSequenceClassification", num_labels=labels)
    check(folder, [PAIRS, *([pair] for pair in PAIRS)], Reference(folder))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "own decoder"])
@pytest.mark.parametrize("family", having("ForMaskedLM"))
def test_splade(make, family, tied):
    folder = make(family, "ForMaskedLM", tie_word_embeddings=tied)
    reference = Reference(folder)
    check(folder, [TEXTS, TEXTS[:1]], lambda encoded: splade(reference(encoded)), pooling=Pooling.SPLADE)


def test_a_config_of_nomic_in_its_authors_words(make, tmp_path):
    folder = make("nomic_bert", "Model", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    names = {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
        "layer_norm_eps": "layer_norm_epsilon",
    }
    config = json.loads((folder / "config.json").read_text())
    own = {name: config[key] for key, name in names.items()} | {"rotary_emb_base": 500, "rotary_emb_fraction": 1.0}
    own |= {"activation_function": "swiglu", "prenorm": False, "rotary_emb_interleaved": False}
    without = {*names, "hidden_act", "rope_parameters", "head_dim"}
    check(rewritten(folder, tmp_path / "own", without, **own), [TEXTS], Reference(folder))


def test_a_size_of_distilbert_that_is_stated_twice_is_refused(make, tmp_path):
    folder = rewritten(make("distilbert", "Model"), tmp_path / "own", set(), num_attention_heads=1)
    with pytest.raises(ModelError, match=r"`n_heads` is .*, `num_attention_heads` is 1"):
        compute(folder, [TEXTS])


@pytest.mark.parametrize("key", ["prenorm", "parallel_block", "rotary_emb_interleaved"])
def test_what_nomic_has_and_we_do_not_is_refused(make, tmp_path, key):
    folder = rewritten(make("nomic_bert", "Model"), tmp_path / "own", set(), **{key: True})
    with pytest.raises(ModelError, match=f"`{key}` is true"):
        compute(folder, [TEXTS])


def test_the_stretched_rotary_embedding_of_alibabas_models(make, tmp_path):
    """Its angles are those of a larger base divided by one factor, which transformers can express as linear scaling."""
    factor, size = 8.0, 8
    slowed = {"rope_type": "linear", "rope_theta": 20000.0 * factor, "factor": factor ** (2 / size)}
    folder = make("new", "Model", rope_parameters=slowed)
    stretched = {"rope_theta": 20000, "rope_scaling": {"type": "ntk", "factor": factor}, "model_type": "new"}
    check(rewritten(folder, tmp_path / "own", {"rope_parameters"}, **stretched), [TEXTS], Reference(folder))


def test_modernberts_layers_as_older_configs_state_them(make, tmp_path):
    folder = make("modernbert", "Model")
    older = {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    check(rewritten(folder, tmp_path / "own", {"layer_types", "rope_parameters"}, **older), [TEXTS], Reference(folder))


def test_a_classifier_of_modernbert_may_pool_the_mean(make):
    folder = make("modernbert", "ForSequenceClassification", num_labels=1, classifier_pooling="mean")
    check(folder, [PAIRS], Reference(folder))


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("qwen3", {"layer_types": 2 * ["sliding_attention"]}, "names sliding_attention, and no window is stated"),
        ("qwen3", {"num_key_value_heads": 3}, "cannot share 3"),
        ("qwen3", {"rope_parameters": {"rope_type": "longrope"}}, "rope_type 'longrope' is not supported"),
        ("qwen3", {"rope_parameters": {"rope_theta": "10"}}, "`rope_theta` is '10'"),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 0, "max_window_layers": 0}, "`sliding_window` is 0"),
        ("qwen2", {"auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"}}, "`auto_map` names code, which is never run"),
        ("llama", {"use_bidirectional_attention": True}, "`use_bidirectional_attention` is True, which transformers"),
        ("llama", {"rms_norm_eps": 10**400}, "`rms_norm_eps` is 1000"),
        ("llama", {"partial_rotary_factor": 0.5}, "`partial_rotary_factor` is 0.5"),
        ("llama", {"model_type": "llama_bidirec", "pooling": "colbert"}, "pooling 'colbert' is not supported"),
        ("llama", {"model_type": "llama_bidirec", "temperature": 0}, "`temperature` is 0.0"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "`low_freq_factor` is None"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}},
            "it must be less than `high_freq_factor`",
        ),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2, "rope_theta": 1}}, "`rope_theta` is 1.0"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 10**400}}, "the `factor` of linear is 1000"),
        ("mistral", {"layer_types": ["full_attention"] * 2}, "`layer_types` is "),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "`attn_logit_softcapping` is 50.0"),
        ("gemma3_text", {"is_causal": False}, "`is_causal` is false"),
        ("gemma3_text", {"sliding_window": None}, "`sliding_window` is null"),
        ("gemma3_text", {"query_pre_attn_scalar": 0}, "`query_pre_attn_scalar` is 0.0"),
        ("gemma3_text", {"rope_parameters": {"rope_theta": 10.0}}, "`rope_parameters` is {'rope_theta': 10.0}"),
        ("modernbert", {"layer_types": ["full_attention"]}, "`layer_types` is"),
        ("modernbert", {"decoder_bias": False}, "`decoder_bias` is false"),
        ("gte", {"rope_parameters": None, "rope_scaling": {"type": "ntk"}}, "`factor` of ntk is None"),
        ("gte", {"rope_parameters": None, "rope_scaling": {"type": "ntk", "mixed_b": 0.6}}, "'ntk' is not supported"),
        ("gte", {"position_embedding_type": "absolute"}, "'absolute' is not supported"),
        ("gte", {"logn_attention_scale": True}, "`logn_attention_scale` is true"),
        ("nomic_bert", {"rotary_scaling_factor": 2.0}, "`rotary_scaling_factor` is 2.0"),
        ("nomic_bert", {"num_attention_heads": 32}, "the head size is 1"),
        ("modernbert", {"num_hidden_layers": 10**12}, "`num_hidden_layers` is 1000000000000"),
        ("modernbert", {"layer_types": 3}, "`layer_types` is 3"),
        ("bert", {"architectures": {"a": 1}}, "`architectures` is {'a': 1}"),
    ],
)
def test_a_config_that_asks_for_more_is_refused_with_the_value(make, tmp_path, family, values, message):
    folder = rewritten(make(family, "Model"), tmp_path / "own", set(), **values)
    with pytest.raises(ModelError, match=message):
        compute(folder, [TEXTS])


def test_a_causal_model_cannot_be_splade(make, tmp_path):
    folder = rewritten(make("qwen3", "Model"), tmp_path / "own", set(), architectures=["Qwen3ForMaskedLM"])
    with pytest.raises(ModelError, match="no masked-language head"):
        compute(folder, [TEXTS], pooling=Pooling.SPLADE)


@pytest.mark.parametrize("heads", SLOPES)
def test_jina_equals_what_its_papers_say(tmp_path, heads):
    folder = make_jina(tmp_path / "jina", heads=heads, longest=LONGEST)
    check(folder, [TEXTS, *([text] for text in TEXTS)], JinaReference(folder).states)


@pytest.mark.parametrize("labels", [1, 3])
def test_a_reranker_and_a_classifier_of_jina(tmp_path, labels):
    architecture = "JinaBertForSequenceClassification"
    folder = make_jina(tmp_path / "jina", heads=3, longest=LONGEST, architecture=architecture, labels=labels)
    check(folder, [PAIRS], JinaReference(folder).logits)


def test_splade_of_jina(tmp_path):
    folder = make_jina(tmp_path / "jina", heads=2, longest=LONGEST, architecture="JinaBertForMaskedLM")
    reference = JinaReference(folder)
    check(folder, [TEXTS], lambda encoded: splade(reference.words(encoded)), pooling=Pooling.SPLADE)


def test_jina_beyond_the_length_of_short_models(tmp_path):
    folder = make_jina(tmp_path / "jina", heads=2, longest=1024)
    check(folder, [["so many words " * 300, TEXTS[1]]], JinaReference(folder).states)
