"""Small seeded XLM-RoBERTa models for containers, which TEI serves as they are; engines load them in milliseconds."""

from pathlib import Path

from bench.fuzz import tokenizers
from bench.fuzz.folders import Kind, make_files, write_files
from bench.fuzz.weights import safetensors, tensors_of
from embedfleet.engine.model.spec import read_model

_CONFIG = {
    "model_type": "xlm-roberta",
    "vocab_size": tokenizers.ROOM,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 130,
    "type_vocab_size": 1,
    "hidden_act": "gelu",
    "initializer_range": 0.02,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
SPREAD = 10  # so that texts differ in their vectors and scores
_MODES = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": False}
_POOLING = {"1_Pooling/config.json": _MODES}


def make_embedder(folder: Path, seed: int = 0) -> Path:
    """Write a model like bge-m3, without its two further heads."""
    return _make(
        folder, Kind(_CONFIG | {"architectures": ["XLMRobertaModel"]}, tokenizers.unigram, _whole, _POOLING), seed
    )


def make_reranker(folder: Path, seed: int = 0) -> Path:
    """Write a model like bge-reranker-v2-m3."""
    config = {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    return _make(folder, Kind(_CONFIG | config, tokenizers.unigram, _whole, {}), seed)


def _make(folder: Path, kind: Kind, seed: int) -> Path:
    write_files(folder, make_files(kind))
    tensors = {name: SPREAD * values for name, values in tensors_of(read_model(folder), seed).items()}
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    return folder


def _whole(tensors):
    return {"model.safetensors": safetensors(tensors)}
