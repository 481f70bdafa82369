"""Every family that TEI's README names, by the config of a model of it as published: what TEI makes of it, on what."""

import json
from dataclasses import replace
from typing import Any

import pytest

from embedfleet.control.tei.family import FAMILIES, NO_DEFAULT
from embedfleet.control.tei.folder import judge
from embedfleet.model_folder.defaults import DEFAULTS
from tests.services.tei_folders import AMPERE, BERT, CPU, OLD_POOLING, TURING, folder, modules, rewritten

MEAN, CLS = OLD_POOLING, OLD_POOLING | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
LAST = OLD_POOLING | {"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}
ROBERTA = BERT | {"pad_token_id": 1, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
NEW = {
    "architectures": ["NewModel"],
    "model_type": "new",
    **{key: BERT[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")},
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 8192,
    "type_vocab_size": 1,
    "layer_norm_type": "layer_norm",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
    "position_embedding_type": "rope",
    "rope_theta": 20000,
    "rope_scaling": {"factor": 8.0, "type": "ntk"},
}
NOMIC = {
    "architectures": ["NomicBertModel"],
    "model_type": "nomic_bert",
    "activation_function": "swiglu",
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "n_embd": 768,
    "n_head": 12,
    "n_inner": 3072,
    "n_layer": 12,
    "n_positions": 8192,
    "pad_vocab_size_multiple": 64,
    "prenorm": False,
    "qkv_proj_bias": False,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_scaling_factor": 2,
    "type_vocab_size": 2,
    "vocab_size": 30528,
}
MODERN = {
    "architectures": ["ModernBertModel"],
    "model_type": "modernbert",
    **{key: BERT[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")},
    "vocab_size": 50368,
    "hidden_activation": "gelu",
    "max_position_embeddings": 8192,
    "initializer_range": 0.02,
    "initializer_cutoff_factor": 2.0,
    "norm_eps": 1e-5,
    "norm_bias": False,
    "pad_token_id": 50283,
    "eos_token_id": 50282,
    "bos_token_id": 50281,
    "cls_token_id": 50281,
    "sep_token_id": 50282,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "global_attn_every_n_layers": 3,
    "local_attention": 128,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_pooling": "mean",
}
DEBERTA = {
    "architectures": ["DebertaV2ForSequenceClassification"],
    "model_type": "deberta-v2",
    **{key: BERT[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")},
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-7,
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pooler_hidden_act": "gelu",
    "pooler_hidden_size": 32,
    "pooler_dropout": 0,
    "pad_token_id": 0,
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
}
DECODER = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}
MISTRAL = DECODER | {"architectures": ["MistralModel"], "model_type": "mistral", "sliding_window": 4096}
QWEN2 = DECODER | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "sliding_window": 131072,
    "use_sliding_window": False,
    "auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"},
}
QWEN3 = DECODER | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "eos_token_id": 151643,
    "rope_scaling": None,
    "sliding_window": None,
    "use_sliding_window": False,
}
LLAMA = DECODER | {
    "architectures": ["LlamaBidirectionalModel"],
    "model_type": "llama_bidirec",
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
}
GEMMA = {
    "architectures": ["Gemma3TextModel"],
    "model_type": "gemma3_text",
    "_sliding_window_pattern": 6,
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 768,
    "intermediate_size": 1152,
    "max_position_embeddings": 2048,
    "num_attention_heads": 3,
    "num_hidden_layers": 24,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 256,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 4,
    "rms_norm_eps": 1e-6,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 512,
    "use_bidirectional_attention": True,
    "vocab_size": 262144,
}
JINA = BERT | {
    "architectures": ["JinaBertForMaskedLM"],
    "position_embedding_type": "alibi",
    "max_position_embeddings": 8192,
    "auto_map": {"AutoConfig": "jinaai/jina-bert-implementation--configuration_bert.JinaBertConfig"},
}
LABELS = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
EMBEDDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "WhereIsAI/UAE-Large-V1": (BERT, CLS),
    "sentence-transformers/all-MiniLM-L6-v2": (BERT, MEAN),
    "BAAI/bge-m3": (
        ROBERTA | {"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "max_position_embeddings": 8194},
        CLS,
    ),
    "dangvantuan/sentence-camembert-large": (
        ROBERTA | {"architectures": ["CamembertModel"], "model_type": "camembert"},
        MEAN,
    ),
    "sentence-transformers/all-distilroberta-v1": (
        ROBERTA | {"architectures": ["RobertaModel"], "model_type": "roberta"},
        MEAN,
    ),
    "sentence-transformers/msmarco-distilbert-base-v4": (
        {
            "architectures": ["DistilBertModel"],
            "model_type": "distilbert",
            "vocab_size": 30522,
            "dim": 768,
            "n_layers": 6,
            "n_heads": 12,
            "hidden_dim": 3072,
            "activation": "gelu",
            "max_position_embeddings": 512,
            "pad_token_id": 0,
        },
        MEAN,
    ),
    "sentence-transformers/all-mpnet-base-v2": (
        {
            **{key: value for key, value in BERT.items() if key != "type_vocab_size"},
            "architectures": ["MPNetForMaskedLM"],
            "model_type": "mpnet",
            "max_position_embeddings": 514,
            "attention_probs_dropout_prob": 0.1,
            "relative_attention_num_buckets": 32,
            "pad_token_id": 1,
        },
        MEAN,
    ),
    "Alibaba-NLP/gte-large-en-v1.5": (NEW, CLS),
    "nomic-ai/nomic-embed-text-v1.5": (NOMIC, MEAN),
    "nomic-ai/nomic-embed-text-v2-moe": (
        NOMIC | {"activation_function": "gelu", "mlp_fc1_bias": True, "num_experts": 8, "moe_top_k": 2},
        MEAN,
    ),
    "jinaai/jina-embeddings-v2-base-en": (JINA, MEAN),
    "jinaai/jina-embeddings-v2-base-code": (
        JINA | {"auto_map": {"AutoConfig": "jinaai/jina-bert-v2-qk-post-norm--configuration_bert.JinaBertConfig"}},
        MEAN,
    ),
    "nomic-ai/modernbert-embed-base": (MODERN, MEAN),
    "Salesforce/SFR-Embedding-Mistral": (MISTRAL, LAST),
    "Alibaba-NLP/gte-Qwen2-1.5B-instruct": (QWEN2, LAST),
    "Qwen/Qwen3-Embedding-0.6B": (QWEN3, LAST),
    "nvidia/llama-embed-nemotron-8b": (LLAMA, MEAN),
    "google/embeddinggemma-300m": (GEMMA, MEAN),
}
RANKERS: dict[str, tuple[dict[str, Any], str]] = {
    "cross-encoder/ms-marco-MiniLM-L6-v2": (
        BERT | LABELS | {"architectures": ["BertForSequenceClassification"]},
        "classifier.weight",
    ),
    "BAAI/bge-reranker-large": (
        ROBERTA | LABELS | {"architectures": ["XLMRobertaForSequenceClassification"], "model_type": "xlm-roberta"},
        "classifier.out_proj.weight",
    ),
    "Alibaba-NLP/gte-multilingual-reranker-base": (
        NEW | LABELS | {"architectures": ["NewForSequenceClassification"]},
        "classifier.weight",
    ),
    "mixedbread-ai/mxbai-rerank-xsmall-v1": (DEBERTA, "classifier.weight"),
    "Alibaba-NLP/gte-reranker-modernbert-base": (
        MODERN | LABELS | {"architectures": ["ModernBertForSequenceClassification"], "num_labels": 1},
        "classifier.weight",
    ),
}
ON_GPUS_ALONE = {"mistral", "qwen2", "llama_bidirec"}


def embedder(name: str, **changes: Any):
    config, pooling = EMBEDDERS[name]
    files = {"modules.json": modules("Transformer", "Pooling", "Normalize"), "1_Pooling/config.json": pooling}
    return folder(
        files | {"config.json": {key: value for key, value in (config | changes).items() if value is not ...}}
    )


def of(model_type: str) -> str:
    return next(name for name, (config, _) in EMBEDDERS.items() if config["model_type"] == model_type)


def rewritten_config(found, target=AMPERE) -> dict[str, Any]:
    verdict = judge(found, target)
    assert not verdict.refuses, str(verdict)
    assert judge(rewritten(found, verdict), target).serves_as_it_is
    return json.loads(verdict.files["config.json"])


def test_every_family_has_a_model_here():
    named = {config["model_type"] for config, _ in (*EMBEDDERS.values(), *RANKERS.values())}
    assert all(named & {*family.model_types} for family in FAMILIES)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_published_embedder_is_served_as_it_is_on_an_a100(name):
    verdict = judge(embedder(name), AMPERE)
    if name == of("mpnet"):  # its 514 positions begin behind the padding, of which TEI knows nothing
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
    refusals = judge(embedder(name), target).refusals
    kind = EMBEDDERS[name][0]["model_type"]
    assert [refusal.key for refusal in refusals] == (["model_type"] if kind in ON_GPUS_ALONE else [])
    assert all("flash attention" in refusal.reason for refusal in refusals)


@pytest.mark.parametrize(
    ("kind", "before"),
    [("modernbert", (1, 6, 1)), ("qwen3", (1, 7, 1)), ("gemma3_text", (1, 8, 0)), ("llama_bidirec", (1, 8, 3))],
)
def test_a_release_of_before_the_family_is_named(kind, before):
    (refusal,) = judge(embedder(of(kind)), replace(AMPERE, version=before)).refusals
    assert "a newer tei_version" in refusal.hint


def test_gemma_computes_in_float32_alone():
    (refusal,) = judge(embedder(of("gemma3_text")), replace(AMPERE, dtype="float16")).refusals
    assert refusal.key == "dtype"


@pytest.mark.parametrize("kind", ["albert", "electra", "t5", "deberta", "gpt2", "eurobert"])
def test_a_family_that_tei_lacks_is_named(kind):
    (refusal,) = judge(folder({"config.json": BERT | {"model_type": kind}}), replace(AMPERE, pooling="mean")).refusals
    assert (refusal.key, kind in refusal.reason) == ("model_type", True)
    assert "our own engine" in refusal.hint


@pytest.mark.parametrize("name", ["mpnet", "nomic_bert", "mistral", "qwen3", "gemma3_text"])
def test_a_classifier_of_a_family_without_one_is_refused(name):
    config = EMBEDDERS[of(name)][0] | LABELS
    config |= {"architectures": [f"{config['architectures'][0].partition('For')[0]}ForSequenceClassification"]}
    assert "TEI has no classifier of it" in str(judge(folder({"config.json": config}, head=1), AMPERE))


# What transformers 5 writes.


def test_rotary_positions_of_transformers_5_stand_where_tei_reads_them():
    new = {"rope_parameters": {"rope_theta": 5e6, "rope_type": "default"}, "rope_theta": ..., "rope_scaling": ...}
    for kind in ("mistral", "qwen2", "qwen3"):
        values = rewritten_config(embedder(of(kind), **new, pad_token_id=None))
        assert values["rope_theta"] == 5e6
        assert not {"rope_parameters", "pad_token_id"} & values.keys()
    scaled = EMBEDDERS[of("llama_bidirec")][0]["rope_scaling"]
    values = rewritten_config(embedder(of("llama_bidirec"), **new | {"rope_parameters": scaled | {"rope_theta": 5e5}}))
    assert (values["rope_theta"], values["rope_scaling"]) == (5e5, scaled)


def test_layers_of_two_kinds_have_their_bases_where_tei_reads_them():
    kinds = {"full_attention": {"rope_theta": 7e4, "rope_type": "default"}, "sliding_attention": {"rope_theta": 3e3}}
    old = {"global_rope_theta": ..., "local_rope_theta": ..., "global_attn_every_n_layers": ...}
    layers = ["full_attention", "sliding_attention"]
    values = rewritten_config(embedder(of("modernbert"), rope_parameters=kinds, layer_types=layers * 2, **old))
    assert (values["global_rope_theta"], values["local_rope_theta"]) == (7e4, 3e3)
    assert values["global_attn_every_n_layers"] == 2
    old = {"rope_theta": ..., "rope_local_base_freq": ..., "_sliding_window_pattern": ...}
    values = rewritten_config(embedder(of("gemma3_text"), rope_parameters=kinds, **old))
    assert (values["rope_theta"], values["rope_local_base_freq"], values["_sliding_window_pattern"]) == (7e4, 3e3, 6)


@pytest.mark.parametrize("kind", ["mistral", "qwen3", "llama_bidirec", "new", "modernbert"])
@pytest.mark.parametrize("scaling", ["linear", "yarn", "dynamic", "longrope"])
def test_scaled_positions_that_tei_would_pass_over_or_take_for_others_are_refused(kind, scaling):
    for changes in (
        {"rope_scaling": {"rope_type": scaling, "factor": 2.0}},
        {"rope_scaling": {"type": scaling, "factor": 2}},
    ):
        (refusal,) = judge(embedder(of(kind), **changes), AMPERE).refusals
        assert scaling in refusal.reason


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
def test_what_tei_would_compute_as_another_model_is_refused(kind, changes, key):
    assert [refusal.key for refusal in judge(embedder(of(kind), **changes), AMPERE).refusals] == [key]


def test_a_modernberts_labels_are_counted_for_tei():
    three = {"id2label": {str(n): str(n) for n in range(3)}, "label2id": {str(n): n for n in range(3)}}
    config = MODERN | three | {"architectures": ["ModernBertForSequenceClassification"]}
    assert rewritten_config(folder({"config.json": config}, head=3))["num_labels"] == 3


def test_gtes_second_class_without_labels_is_left_out():
    values = rewritten_config(embedder(of("new"), architectures=["NewModel", "NewForTokenClassification"]))
    assert values["architectures"] == ["NewModel"]


def test_positions_under_two_names_are_left_under_one():
    values = rewritten_config(embedder(of("nomic_bert"), max_position_embeddings=2048))
    assert "max_position_embeddings" not in values


def test_the_defaults_are_those_of_transformers():
    """A key that the library does not have, or has no value for, is TEI's own."""
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
