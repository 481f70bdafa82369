"""A model's tokenizer as the libraries use it: tokenizer.json, with the settings of other files that override it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedfleet.errors import ModelError
from embedfleet.folder.config import ModelConfig, parse_json
from embedfleet.folder.file import check_file, has_file
from embedfleet.folder.slow_tokenizer import CONFIG_FILE, class_name, has_slow_tokenizer, hint, slow_tokenizer

NAME = "tokenizer.json"
_BERT_KEYS = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
_BERT_KEYS |= {"tokenize_chinese_chars": "handle_chinese_chars"}
_BERT_CLASSES = {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MPNetTokenizer"}


def check_tokenizer(folder: Path) -> None:
    """Check that the folder has a tokenizer.

    Raises:
        ModelError: there is none, or its file is a git-lfs pointer.
    """
    if has_file(folder / NAME) or not has_slow_tokenizer(folder):
        check_file(folder / NAME, f"if there are other files of a tokenizer, {hint(folder)}")


def tokenizer_text(folder: Path, model_type: str, *, lowers: bool) -> str | None:
    """The text of a ``tokenizer.json``.

    Args:
        folder: of the model.
        model_type: of its config.json.
        lowers: whether sentence-transformers lowers a text first.

    Returns:
        None where the folder's own file is to be taken as it is.

    Raises:
        ModelError: a file is missing or cannot be read, or the tokenizer is not one that is built here.
    """
    if not has_file(folder / NAME):
        text = slow_tokenizer(folder, model_type)
        return json.dumps(_lowered(json.loads(text))) if lowers else text
    file = folder / CONFIG_FILE
    settings = ModelConfig(file).values if has_file(file) else {}
    name = class_name(folder, settings, model_type)
    stated = {key: settings[key] for key in _keys(name) if key in settings}
    for key, value in stated.items():
        if not isinstance(value, bool) and not (value is None and key == "strip_accents"):
            raise ModelError(f"{file}: `{key}` is {value!r}, true or false is needed")
    if not stated and not lowers:
        return None
    tokenizer = parse_json(folder / NAME)
    if not isinstance(tokenizer, dict):
        raise ModelError(f"{folder / NAME} does not hold a JSON object", "copy or download it again")
    changed = _with_settings(tokenizer, stated)
    changed = _lowered(changed) if lowers else changed
    return None if changed == tokenizer else json.dumps(changed)


def _keys(name: str) -> tuple[str, ...]:
    """The keys of tokenizer_config.json that override tokenizer.json for a tokenizer class."""
    if name in _BERT_CLASSES:
        return tuple(_BERT_KEYS)
    return ("add_prefix_space",) if name == "RobertaTokenizer" else ()


def _with_settings(tokenizer: dict[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer with the settings of tokenizer_config.json, which transformers puts in when it rebuilds its parts."""
    normalizer, pre_tokenizer = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        normalizer = {**normalizer, **{_BERT_KEYS[key]: value for key, value in stated.items() if key in _BERT_KEYS}}
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "ByteLevel" and "add_prefix_space" in stated:
        pre_tokenizer = {**pre_tokenizer, "add_prefix_space": stated["add_prefix_space"]}
    return {**tokenizer, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer}


def _lowered(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer that lowercases a text first (sentence-transformers 6.2, base/modules/transformer.py)."""
    normalizer = tokenizer.get("normalizer") or {}
    parts = normalizer["normalizers"] if normalizer.get("type") == "Sequence" else [normalizer] if normalizer else []
    if not any(part.get("type") == "Lowercase" for part in parts):
        parts = [{"type": "Lowercase"}, *parts]
    return {**tokenizer, "normalizer": {"type": "Sequence", "normalizers": parts}}
