"""The tokenizer of a model as the libraries use it: tokenizer.json, with the overrides of other files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig, parse_json
from embedfleet.model_folder.file import check_file, has_file
from embedfleet.model_folder.file_names import TOKENIZER, TOKENIZER_CONFIG
from embedfleet.model_folder.slow_tokenizer import class_name, has_slow_tokenizer, hint, slow_tokenizer
from embedfleet.model_folder.special_tokens import Token, read_special_tokens

_LARGEST = 1 << 28  # bytes; the largest published file has 35 million
_BERT_KEYS = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
_BERT_KEYS |= {"tokenize_chinese_chars": "handle_chinese_chars"}
_BERT_CLASSES = {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MPNetTokenizer"}


def check_tokenizer(folder: Path) -> None:
    """Check that a folder has a tokenizer.

    Raises:
        ModelError: There is none, or its file is a git-lfs pointer.
    """
    if has_file(folder / TOKENIZER) or not has_slow_tokenizer(folder):
        check_file(folder / TOKENIZER, f"if the folder has other tokenizer files, {hint(folder)}")


def tokenizer_text(folder: Path, model_type: str, *, lowercases: bool) -> str | None:
    """Make the text of the ``tokenizer.json`` that the libraries would use.

    Args:
        folder: Folder of the model.
        model_type: ``model_type`` of its config.json.
        lowercases: Whether sentence-transformers lowercases texts first.

    Returns:
        Text; None if the folder's own file needs no change.

    Raises:
        ModelError: A file is missing or unreadable, or the tokenizer's class is not supported.
    """
    if not has_file(folder / TOKENIZER):
        text = slow_tokenizer(folder, model_type)
        return json.dumps(_lowercasing(json.loads(text))) if lowercases else text
    file = folder / TOKENIZER_CONFIG
    settings = ModelConfig(file).values if has_file(file) else {}
    name = class_name(folder, settings, model_type)
    stated = {key: settings[key] for key in _keys(name) if key in settings}
    for key, value in stated.items():
        if not isinstance(value, bool) and not (value is None and key == "strip_accents"):
            raise ModelError(f"{file}: `{key}` is {value!r}, it must be true or false")
    special = _unmarked(folder / TOKENIZER, _named(file, settings))
    if not stated and not lowercases and not special:
        return None
    tokenizer = parse_json(folder / TOKENIZER)
    if not isinstance(tokenizer, dict):
        raise ModelError(f"{folder / TOKENIZER} does not hold a JSON object", "copy or download it again")
    try:
        changed = _with_special(_with_settings(tokenizer, stated), special)
        changed = _lowercasing(changed) if lowercases else changed
    except (TypeError, KeyError, IndexError, AttributeError):  # not a tokenizer; loading it will report that
        return None
    return None if changed == tokenizer else json.dumps(changed)


def _named(file: Path, settings: Mapping[str, Any]) -> list[Token]:
    """Read the tokens that tokenizer_config.json names, with or without a role.

    Raises:
        ModelError: An entry is not a token.
    """
    try:
        special = read_special_tokens(settings, None, None)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file} names an invalid token: {error}", "copy or download it again") from error
    return [*special.named.values(), *special.added, *(special.extra or ())]


def _unmarked(file: Path, tokens: Sequence[Token]) -> list[Token]:
    """Find the tokens that a ``tokenizer.json`` does not list as added tokens.

    The bytes of the file are searched, since parsing the file takes long.

    Raises:
        ModelError: The file cannot be read.
    """
    check_file(file)
    if not tokens or file.stat().st_size > _LARGEST:
        return []
    text = file.read_bytes()
    return [token for token in tokens if not any(entry in text for entry in _entries(token))]


def _entries(token: Token) -> tuple[bytes, bytes]:
    """Part of an added token's entry that names it, in a compact file and in an indented one."""
    name = json.dumps(token.content, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return b'"content":' + name, b'"content": ' + name


def _keys(name: str) -> tuple[str, ...]:
    """Keys of tokenizer_config.json that override tokenizer.json for a tokenizer class."""
    if name in _BERT_CLASSES:
        return tuple(_BERT_KEYS)
    return ("add_prefix_space",) if name == "RobertaTokenizer" else ()


def _with_settings(tokenizer: dict[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Apply the settings of tokenizer_config.json, as transformers does when it rebuilds the tokenizer's parts."""
    normalizer, pre_tokenizer = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        normalizer = {**normalizer, **{_BERT_KEYS[key]: value for key, value in stated.items() if key in _BERT_KEYS}}
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "ByteLevel" and "add_prefix_space" in stated:
        pre_tokenizer = {**pre_tokenizer, "add_prefix_space": stated["add_prefix_space"]}
    return {**tokenizer, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer}


def _with_special(tokenizer: dict[str, Any], special: Sequence[Token]) -> dict[str, Any]:
    """Add the named words of the vocabulary as special tokens, as transformers does.

    Words that the vocabulary lacks are left out: transformers gives them ids after the vocabulary, for which most
    models have no embedding.
    """
    model, known = tokenizer.get("model"), tokenizer.get("added_tokens") or []
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):  # a Unigram model: pieces with scores
        vocabulary = {piece[0]: number for number, piece in enumerate(vocabulary)}
    if not isinstance(vocabulary, dict):
        return tokenizer
    listed = {token["content"] for token in known}
    wanted = {token.content: token for token in special if token.content in vocabulary and token.content not in listed}
    entries = [*known, *(token.entry(vocabulary[name]) for name, token in wanted.items())]
    return {**tokenizer, "added_tokens": sorted(entries, key=lambda entry: entry["id"])} if wanted else tokenizer


def _lowercasing(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Make the tokenizer lowercase texts first (sentence-transformers 6.2, base/modules/transformer.py)."""
    normalizer = tokenizer.get("normalizer") or {}
    parts = normalizer["normalizers"] if normalizer.get("type") == "Sequence" else [normalizer] if normalizer else []
    if not any(part.get("type") == "Lowercase" for part in parts):
        parts = [{"type": "Lowercase"}, *parts]
    return {**tokenizer, "normalizer": {"type": "Sequence", "normalizers": parts}}
