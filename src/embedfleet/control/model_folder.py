"""A model folder as Text Embeddings Inference needs it, looked at from outside: is it whole, how long, how heavy."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LFS = b"version https://git-lfs.github.com/spec/"
_LENGTHS = ("sentence_bert_config.json", "sentence_xlm-roberta_config.json", "sentence_roberta_config.json")
_INDEX = "model.safetensors.index.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", _INDEX, "onnx/model.onnx", "model.onnx")
_PADDED_POSITIONS = {"roberta", "xlm-roberta", "camembert"}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's folder tells.

    Attributes:
        max_input_length: in tokens, special ones among them; 0 if it is not told.
        weights_bytes: of the file or the files of weights that TEI would load.
        is_classifier: whether it ranks or classifies, by its architecture.
        problems: what keeps TEI from loading it, each with the file and what to do.
    """

    max_input_length: int
    weights_bytes: int
    is_classifier: bool
    problems: tuple[str, ...]


def read_model_folder(folder: Path) -> ModelFacts:
    """Look at a folder in Hugging Face layout (files as in TEI's `download.rs` and `lib.rs`, 1.9); never fails."""
    problems: list[str] = []
    config = _json(folder / "config.json", problems, required=True)
    if not (folder / "tokenizer.json").is_file():
        problems.append(f"{folder}/tokenizer.json is missing: TEI has fast tokenizers only")
    weights = _weights(folder, problems)
    problems += [
        f"{file} is a git-lfs pointer, not the file: run `git lfs pull` in {folder}"
        for file in (folder / "tokenizer.json", *weights)
        if _is_pointer(file)
    ]
    architectures = config.get("architectures") or []
    return ModelFacts(
        max_input_length=_length(folder, config),
        weights_bytes=sum(file.stat().st_size for file in weights),
        is_classifier=any("Classification" in str(name) for name in architectures),
        problems=tuple(problems),
    )


def _weights(folder: Path, problems: list[str]) -> list[Path]:
    found = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        problems.append(f"{folder} has no weights: none of {', '.join(_WEIGHTS)} is there")
        return []
    if found.name != _INDEX:
        return [found]
    names = sorted(set(_json(found, problems, required=True).get("weight_map", {}).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    problems += [f"{folder}/{name} is missing: {_INDEX} names it" for name in missing]
    return [folder / name for name in names if name not in missing]


def _length(folder: Path, config: dict[str, Any]) -> int:
    for name in _LENGTHS:
        length = _json(folder / name, [], required=False).get("max_seq_length")
        if isinstance(length, int):
            return length
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return 0
    padding = config.get("pad_token_id") or 0
    return positions - padding - 1 if config.get("model_type") in _PADDED_POSITIONS else positions


def _json(file: Path, problems: list[str], *, required: bool) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        if required:
            problems.append(f"{file} is missing")
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{file} cannot be read: {error}")
        return {}
    return content if isinstance(content, dict) else {}


def _is_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(_LFS)) == _LFS
    except OSError:
        return False
