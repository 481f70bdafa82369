"""Configurations of published models of each family in TEI's README."""

import json
from typing import Any

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import AMPERE, BERT, OLD_POOLING, folder, modules, rewritten

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


def published(name: str, **changes: Any):
    config, pooling = EMBEDDERS[name]
    files = {"modules.json": modules("Transformer", "Pooling", "Normalize"), "1_Pooling/config.json": pooling}
    return folder(
        files | {"config.json": {key: value for key, value in (config | changes).items() if value is not ...}}
    )


def name_of(model_type: str) -> str:
    return next(name for name, (config, _) in EMBEDDERS.items() if config["model_type"] == model_type)


def rewritten_config(found, target=AMPERE) -> dict[str, Any]:
    verdict = judge(found, target)
    assert not verdict.refuses, str(verdict)
    assert judge(rewritten(found, verdict), target).serves_as_it_is
    return json.loads(verdict.files["config.json"])
