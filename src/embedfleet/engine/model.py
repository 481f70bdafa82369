"""What a model folder in Hugging Face layout says about itself, read and checked before any weight is touched."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from embedfleet.errors import ModelError

Kind = Literal["embedding", "classifier", "reranker"]
Family = Literal["bert", "xlm-roberta"]


class Pooling(StrEnum):
    """How token states become one vector; the values are those of TEI's ``/info``."""

    CLS = "cls"
    MEAN = "mean"
    LAST_TOKEN = "last_token"  # noqa: S105 - no password


# config.json's model_type → whose graph it has. RoBERTa's kin differ from BERT in the first position and in the head.
FAMILIES: dict[str, Family] = {
    "bert": "bert",
    "roberta": "xlm-roberta",
    "camembert": "xlm-roberta",
    "xlm-roberta": "xlm-roberta",
}
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")

# sentence-transformers' 1_Pooling/config.json: one of these is true.
_POOLING_KEYS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_lasttoken": Pooling.LAST_TOKEN,
}
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's shape and rules.

    Attributes:
        position_offset: the position number of the first token: 0 for BERT, pad id + 1 for RoBERTa's kin.
        max_input_length: tokens, specials included; as TEI derives it.
        pooling: None for classifiers and rerankers.
        id2label: class number → name; empty for embedders.
        prompts: name → text to put before an input.
    """

    folder: Path
    family: Family
    kind: Kind
    pooling: Pooling | None
    id2label: dict[int, str]
    vocabulary: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    positions: int
    position_offset: int
    token_types: int
    epsilon: float
    activation: str
    max_input_length: int
    prompts: dict[str, str]

    @property
    def weights_file(self) -> Path:
        """Where the weights are."""
        return self.folder / "model.safetensors"

    @property
    def tokenizer_file(self) -> Path:
        """Where the tokenizer is."""
        return self.folder / "tokenizer.json"


def read_model(folder: Path, *, pooling: Pooling | None = None) -> ModelSpec:
    """Read and check a model folder.

    Args:
        folder: in Hugging Face layout.
        pooling: instead of what ``1_Pooling/config.json`` says.

    Raises:
        ModelError: a file is missing, a git-lfs pointer or not readable, or says what we do not support.
    """
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        _require(folder / name)
    config = _read_json(folder / "config.json")
    family = _family(folder, config)
    kind, id2label = _kind(folder, config)
    if kind == "embedding":
        _refuse_extra_modules(folder)
        pooling = pooling or _read_pooling(folder)
    positions = _number(folder, config, "max_position_embeddings")
    offset = _number(folder, config, "pad_token_id") + 1 if family == "xlm-roberta" else 0
    return ModelSpec(
        folder=folder,
        family=family,
        kind=kind,
        pooling=pooling if kind == "embedding" else None,
        id2label=id2label,
        vocabulary=_number(folder, config, "vocab_size"),
        hidden_size=_number(folder, config, "hidden_size"),
        intermediate_size=_number(folder, config, "intermediate_size"),
        layers=_number(folder, config, "num_hidden_layers"),
        heads=_number(folder, config, "num_attention_heads"),
        positions=positions,
        position_offset=offset,
        token_types=_number(folder, config, "type_vocab_size"),
        epsilon=_epsilon(folder, config),
        activation=_activation(folder, config),
        max_input_length=_max_input_length(folder, positions - offset),
        prompts=_read_prompts(folder),
    )


def _require(file: Path) -> None:
    """The file is there and is itself, not git-lfs's pointer to it."""
    if not file.is_file():
        hint = "the folder must hold config.json, tokenizer.json and model.safetensors"
        if file.name == "model.safetensors" and (file.parent / "pytorch_model.bin").exists():
            hint = "pytorch_model.bin is not read: save the model with save_pretrained(..., safe_serialization=True)"
        raise ModelError(f"{file} is missing", hint)
    with file.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ModelError(
                f"{file} is a git-lfs pointer, not the file itself",
                "run `git lfs install && git lfs pull` in the folder",
            )


def _read_json(file: Path) -> dict[str, Any]:
    value = _parse(file)
    if not isinstance(value, dict):
        raise ModelError(f"{file} does not hold a JSON object")
    return value


def _read_list(file: Path) -> list[Any]:
    value = _parse(file)
    if not isinstance(value, list):
        raise ModelError(f"{file} does not hold a JSON array")
    return value


def _parse(file: Path) -> object:
    try:
        return json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error


def _number(folder: Path, config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ModelError(f"{folder / 'config.json'}: `{key}` is {value!r}, a whole number is needed")
    return value


def _epsilon(folder: Path, config: dict[str, Any]) -> float:
    value = config.get("layer_norm_eps", 1e-12)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ModelError(f"{folder / 'config.json'}: `layer_norm_eps` is {value!r}, a number is needed")
    return float(value)


def _family(folder: Path, config: dict[str, Any]) -> Family:
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ModelError(f"{folder / 'config.json'}: model_type {model_type!r} is not supported", f"supported: {known}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ModelError(
            f"{folder / 'config.json'}: position_embedding_type {config['position_embedding_type']!r} is not supported",
            "supported: absolute",
        )
    return FAMILIES[model_type]


def _activation(folder: Path, config: dict[str, Any]) -> str:
    activation = str(config.get("hidden_act", "gelu"))
    if activation not in ACTIVATIONS:
        raise ModelError(
            f"{folder / 'config.json'}: hidden_act {activation!r} is not supported",
            f"supported: {', '.join(ACTIVATIONS)}",
        )
    return activation


def _kind(folder: Path, config: dict[str, Any]) -> tuple[Kind, dict[int, str]]:
    """TEI's rule: an architecture that ends in Classification classifies; with one label it is a reranker."""
    architectures = config.get("architectures") or [""]
    if not str(architectures[0]).endswith("ForSequenceClassification"):
        return "embedding", {}
    labels = config.get("id2label")
    if not isinstance(labels, dict) or not labels:
        raise ModelError(f"{folder / 'config.json'}: `config.json` does not contain `id2label`")
    if set(labels) != {str(number) for number in range(len(labels))}:
        raise ModelError(f"{folder / 'config.json'}: `id2label` has the keys {list(labels)}, 0, 1, … are needed")
    id2label = {int(number): str(label) for number, label in labels.items()}
    return ("reranker" if len(id2label) == 1 else "classifier"), id2label


def _refuse_extra_modules(folder: Path) -> None:
    """Layers after the pooling would be left out in silence: refuse them."""
    file = folder / "modules.json"
    if not file.is_file():
        return
    for module in _read_list(file):
        name = str(module.get("type", "") if isinstance(module, dict) else module).rpartition(".")[2]
        if name not in {"Transformer", "Pooling", "Normalize"}:
            raise ModelError(f"{file}: module {name!r} is not supported", "supported: Transformer, Pooling, Normalize")


def _read_pooling(folder: Path) -> Pooling:
    file = folder / "1_Pooling" / "config.json"
    hint = 'state it: pooling = "cls", "mean" or "last-token" (see the model\'s card)'
    if not file.is_file():
        raise ModelError(f"{file} is missing, so the model's pooling is not stated", hint)
    config = _read_json(file)
    chosen = [pooling for key, pooling in _POOLING_KEYS.items() if config.get(key)]
    chosen += [
        pooling for pooling in Pooling if config.get("pooling_mode") in {pooling.value, pooling.value.replace("_", "")}
    ]
    others = [
        key for key, on in config.items() if key.startswith("pooling_mode_") and on is True and key not in _POOLING_KEYS
    ]
    if len(chosen) != 1 or others:
        named = ", ".join([*map(str, chosen), *others]) or "none"
        raise ModelError(
            f"{file}: exactly one of cls, mean and last-token is supported, the file states: {named}", hint
        )
    return chosen[0]


def _max_input_length(folder: Path, positions: int) -> int:
    """``max_seq_length`` where sentence-transformers states it, else the positions the model has."""
    file = folder / "sentence_bert_config.json"
    if not file.is_file():
        return positions
    length = _read_json(file).get("max_seq_length")
    return (
        positions if length is None else min(_number(folder, {"max_seq_length": length}, "max_seq_length"), positions)
    )


def _read_prompts(folder: Path) -> dict[str, str]:
    file = folder / "config_sentence_transformers.json"
    prompts = _read_json(file).get("prompts") if file.is_file() else None
    return {str(name): str(text) for name, text in prompts.items()} if isinstance(prompts, dict) else {}
