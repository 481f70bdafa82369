"""Defaults of transformers' configuration classes (5.23), for keys that are absent from config.json."""

from collections.abc import Mapping
from types import MappingProxyType

Values = Mapping[str, object]

_BERT: Values = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_ROBERTA: Values = {**_BERT, "pad_token_id": 1}
_MPNET: Values = {name: value for name, value in _ROBERTA.items() if name != "type_vocab_size"}

DEFAULTS: Mapping[str, Values] = MappingProxyType(
    {
        "bert": _BERT,
        "electra": {
            **_BERT,
            "embedding_size": 128,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
        },
        "roberta": {**_ROBERTA, "vocab_size": 50265},
        "xlm-roberta": _ROBERTA,
        "camembert": _ROBERTA,
        "albert": {
            **_BERT,
            "vocab_size": 30000,
            "embedding_size": 128,
            "hidden_size": 4096,
            "num_hidden_groups": 1,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "inner_group_num": 1,
            "hidden_act": "gelu_new",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        "mpnet": {**_MPNET, "vocab_size": 30527, "relative_attention_num_buckets": 32},
        "distilbert": {
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "sinusoidal_pos_embds": False,
            "n_layers": 6,
            "n_heads": 12,
            "dim": 768,
            "hidden_dim": 3072,
            "dropout": 0.1,
            "attention_dropout": 0.1,
            "activation": "gelu",
            "initializer_range": 0.02,
            "pad_token_id": 0,
        },
        "deberta-v2": {
            **_BERT,
            "vocab_size": 128100,
            "hidden_size": 1536,
            "num_hidden_layers": 24,
            "num_attention_heads": 24,
            "intermediate_size": 6144,
            "type_vocab_size": 0,
            "layer_norm_eps": 1e-7,
            "relative_attention": False,
            "max_relative_positions": -1,
            "position_biased_input": True,
            "pooler_dropout": 0.0,
            "pooler_hidden_act": "gelu",
        },
    }
)
"""``model_type`` in config.json → default values of its configuration class."""
