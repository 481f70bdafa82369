"""Conversion of a slow tokenizer's files to a ``tokenizer.json``.

The files are vocab.txt, vocab.json with merges.txt, or a SentencePiece file.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import check_file, has_file
from embedfleet.model_folder.file_names import ADDED_TOKENS, CONFIG, SPECIAL_TOKENS_MAP, TOKENIZER, TOKENIZER_CONFIG
from embedfleet.model_folder.slow_classes import (
    CLASS_OF_TYPE,
    CLASSES,
    Files,
    Json,
    SpecialTokenTemplate,
    TokenizerClass,
    TokenizerParts,
)
from embedfleet.model_folder.special_tokens import NAMES, SpecialTokens, Token, read_special_tokens


def has_slow_tokenizer(folder: Path) -> bool:
    """Whether a folder has the files of a slow tokenizer."""
    return any(has_file(folder / one.files[0]) for one in CLASSES.values())


def slow_tokenizer(folder: Path, model_type: str) -> str:
    """Make the text of a ``tokenizer.json`` from a folder's other files.

    Args:
        folder: Folder of the model.
        model_type: ``model_type`` of its config.json, which decides the class if no file names one.

    Raises:
        ModelError: The class is not supported, or a file is missing or unreadable.
    """
    file = folder / TOKENIZER_CONFIG
    settings = ModelConfig(file) if has_file(file) else None
    files = Files(folder, settings, settings.values if settings else {})
    tokenizer_class = _class_of(files, model_type)
    try:
        special = read_special_tokens(
            files.values, _optional(folder / SPECIAL_TOKENS_MAP), _optional(folder / ADDED_TOKENS)
        )
        named = _named(tokenizer_class, special)
        parts = tokenizer_class.build(files, named)
        tokens, ids = _with_ids(parts, special, named)
        return json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": tokens,
                "normalizer": parts.normalizer,
                "pre_tokenizer": parts.pre_tokenizer,
                "post_processor": _post_processor(tokenizer_class.template, named, ids, files),
                "decoder": parts.decoder,
                "model": parts.model,
            },
            ensure_ascii=False,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
        raise ModelError(
            f"{folder}: no tokenizer can be made of {', '.join(tokenizer_class.files)}: {error}", hint(folder)
        ) from error


def hint(folder: Path) -> str:
    """Advice on how to make a tokenizer.json with transformers."""
    return (
        'write it with transformers: python -c "from transformers import AutoTokenizer as T; '
        f"T.from_pretrained('{folder}').save_pretrained('{folder}')\""
    )


def class_name(folder: Path, settings: Mapping[str, Any], model_type: str) -> str:
    """Find the name of a folder's tokenizer class, without ``Fast``; empty if unknown.

    Args:
        folder: Folder of the model.
        settings: Settings of tokenizer_config.json. Their class takes precedence over config.json's.
        model_type: ``model_type`` of config.json, which decides the class if neither file names one.

    Raises:
        ModelError: config.json cannot be read.
    """
    stated = settings.get("tokenizer_class")
    config = _optional(folder / CONFIG) if not stated else None
    stated = stated or (config.values.get("tokenizer_class") if config else None)
    return str(stated or CLASS_OF_TYPE.get(model_type, "")).removesuffix("Fast")


def _class_of(files: Files, model_type: str) -> TokenizerClass:
    """Find the class of a folder's tokenizer.

    Raises:
        ModelError: The class is not supported, or one of its files is missing.
    """
    name = class_name(files.folder, files.values, model_type)
    found = CLASSES.get(name)
    if found is None or files.values.get("auto_map"):
        tokenizer = f"tokenizer_class {name!r}" if name else f"a tokenizer for model_type {model_type!r}"
        raise ModelError(
            f"{files.folder / TOKENIZER} is missing, and {tokenizer} cannot be made of other files",
            hint(files.folder),
        )
    for file in found.files:
        is_first = file == found.files[0]
        check_file(files.folder / file, f"or {hint(files.folder)}" if is_first else "copy the whole folder")
    return found


def _optional(file: Path) -> ModelConfig | None:
    return ModelConfig(file) if has_file(file) else None


def _named(tokenizer_class: TokenizerClass, special: SpecialTokens) -> dict[str, Token]:
    """Special tokens by role, with the defaults of the class for roles that no file names."""
    own = {name: token if isinstance(token, Token) else Token(token) for name, token in tokenizer_class.tokens.items()}
    joined = {**own, **special.named}
    order = [*(name for name in NAMES if name in joined), *(name for name in joined if name not in NAMES)]
    return {name: replace(joined[name], special=True) for name in order}


def _with_ids(
    parts: TokenizerParts, special: SpecialTokens, named: Mapping[str, Token]
) -> tuple[list[Json], dict[str, int]]:
    """Entries of the added tokens, and the id of every token: the vocabulary's, or the next free one."""
    ids = _vocabulary(parts.model)
    free = max(ids.values(), default=-1) + 1
    roles = {token.content for token in named.values()}
    entries: dict[str, Json] = {}
    for token in (*special.added, *named.values(), *(parts.extra if special.extra is None else special.extra)):
        content = token.content
        if not content or content in entries:
            continue
        if content not in ids:
            ids[content] = free
            free += 1
        entries[content] = replace(token, special=token.special or content in roles).entry(ids[content])
    return sorted(entries.values(), key=lambda entry: entry["id"]), ids


def _vocabulary(model: Json) -> dict[str, int]:
    """Token → id, from the ``model`` part."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        return dict(vocabulary)
    return {piece: token_id for token_id, (piece, _) in enumerate(vocabulary)}


def _post_processor(
    template: SpecialTokenTemplate, named: Mapping[str, Token], ids: Mapping[str, int], files: Files
) -> Json:
    """The ``post_processor`` part, which puts special tokens around texts."""
    begin, end = named[template.begin].content, named[template.end].content
    if template.is_roberta:
        return {
            "type": "RobertaProcessing",
            "sep": [end, ids[end]],
            "cls": [begin, ids[begin]],
            "trim_offsets": files.flag("trim_offsets", default=True),
            "add_prefix_space": files.flag("add_prefix_space", default=False),
        }
    single = [_special(begin, 0), _sequence("A", 0), _special(end, 0)]
    separators = [_special(end, 0)] * (template.separators - 1)
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *separators, _sequence("B", template.second_type), _special(end, template.second_type)],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in dict.fromkeys((begin, end))
        },
    }


def _special(token: str, kind: int) -> Json:
    return {"SpecialToken": {"id": token, "type_id": kind}}


def _sequence(name: str, kind: int) -> Json:
    return {"Sequence": {"id": name, "type_id": kind}}
