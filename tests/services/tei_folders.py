"""Model folders for TEI, as records in memory."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.verdict import Target, Verdict
from tests.services.safetensors import write_shapes

AMPERE = Target((1, 9, 3))
TURING = replace(AMPERE, flash=False)
CPU = replace(AMPERE, on_gpu=False, flash=False)

BERT: dict[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
OLD_POOLING = {
    "word_embedding_dimension": 32,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
}
OLD = "sentence_transformers.models."
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def modules(*names: str, new: bool = False) -> list[dict[str, Any]]:
    """``modules.json`` for modules by class name, with the library's folder names such as ``2_Dense``."""
    return [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{name}" if number else "",
            "type": NEW.get(name, f"x.{name}") if new else f"{OLD}{name}",
        }
        for number, name in enumerate(names)
    ]


DENSE = {"in_features": 32, "out_features": 16, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
EMBEDDER: dict[str, Any] = {
    "config.json": BERT,
    "modules.json": modules("Transformer", "Pooling", "Normalize"),
    "1_Pooling/config.json": OLD_POOLING,
    "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
}
RANKER: dict[str, Any] = {
    "config.json": BERT
    | {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
}


def folder(files: dict[str, Any], *, head: int = 0, head_name: str = "classifier.weight", **more: Any) -> ModelFolder:
    """Make a folder of JSON files and complete weights; None removes a file."""
    values = {name: value for name, value in files.items() if value is not None}
    tensors = {"embeddings.word_embeddings.weight": (30522, 32)} | ({head_name: (head, 32)} if head else {})
    found = ModelFolder(
        Path("/models/m"),
        sizes=dict.fromkeys((*values, "tokenizer.json", "model.safetensors"), 10),
        json=values,
        tensors={"model.safetensors": tensors},
    )
    return replace(found, **more)


def embedder(changes: dict[str, Any] | None = None, **more: Any) -> ModelFolder:
    """Make a BERT of an older sentence-transformers, which TEI serves unchanged, with other files."""
    return folder(EMBEDDER | (changes or {}), **more)


def write_embedder(folder: Path) -> Path:
    """Write the files of `EMBEDDER` to disk, with weights of zeros."""
    for name, values in EMBEDDER.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(values))
    (folder / "tokenizer.json").write_text("{}")
    write_shapes(folder / "model.safetensors", {"embeddings.word_embeddings.weight": (1000, 32)})
    return folder


def ranker(config: dict[str, Any] | None = None, *, head: int = 1, **more: Any) -> ModelFolder:
    """Make a cross-encoder that TEI serves unchanged, with other keys in its config; None removes a key."""
    values = RANKER["config.json"] | (config or {})
    return folder(
        {"config.json": {key: value for key, value in values.items() if value is not None}}, head=head, **more
    )


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def rewritten(found: ModelFolder, verdict: Verdict) -> ModelFolder:
    """Make the folder that TEI sees, with the corrected files of a verdict."""
    values = {name: json.loads(content) for name, content in verdict.files.items() if name != "tokenizer.json"}
    return replace(
        found,
        sizes={**found.sizes, **{name: len(content) for name, content in verdict.files.items()}},
        json={**found.json, **values},
        odd=found.odd - verdict.files.keys(),
        outside={},
        tokenizer="",
    )
