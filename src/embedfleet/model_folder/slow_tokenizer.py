"""Makes a ``tokenizer.json`` from a slow tokenizer's files: vocab.txt, vocab.json with merges.txt, or SentencePiece."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import check_file, has_file
from embedfleet.model_folder.slow_classes import CLASS_OF_TYPE, CLASSES, Around, Files, Json, Made, TokenizerClass
from embedfleet.model_folder.special_tokens import NAMES, SpecialTokens, Token, read_special_tokens

CONFIG_FILE = "tokenizer_config.json"
SLOW_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""The files that are read instead of a tokenizer.json, beside tokenizer_config.json."""


def has_slow_tokenizer(folder: Path) -> bool:
    """Whether there are files of a tokenizer other than a tokenizer.json."""
    return any(has_file(folder / one.files[0]) for one in CLASSES.values())


def slow_tokenizer(folder: Path, model_type: str) -> str:
    """The text of a ``tokenizer.json``, of the other files of a folder.

    Args:
        folder: of the model.
        model_type: of its config.json, which tells the class where tokenizer_config.json does not.

    Raises:
        ModelError: the class is not one that is built here, or a file is missing or not readable.
    """
    file = folder / CONFIG_FILE
    settings = ModelConfig(file) if has_file(file) else None
    files = Files(folder, settings, settings.values if settings else {})
    one = _class_of(files, model_type)
    try:
        special = read_special_tokens(
            files.values, _optional(folder / "special_tokens_map.json"), _optional(folder / "added_tokens.json")
        )
        named = _named(one, special)
        made = one.make(files, named)
        tokens, numbers = _numbered(made, special, named)
        return json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": tokens,
                "normalizer": made.normalizer,
                "pre_tokenizer": made.pre_tokenizer,
                "post_processor": _post_processor(one.around, named, numbers, files),
                "decoder": made.decoder,
                "model": made.model,
            },
            ensure_ascii=False,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
        raise ModelError(
            f"{folder}: no tokenizer can be made of {', '.join(one.files)}: {error}", hint(folder)
        ) from error


def hint(folder: Path) -> str:
    """How to get a tokenizer.json, for those that are not built here."""
    return (
        'write it with transformers: python -c "from transformers import AutoTokenizer as T; '
        f"T.from_pretrained('{folder}').save_pretrained('{folder}')\""
    )


def class_name(folder: Path, settings: Mapping[str, Any], model_type: str) -> str:
    """The class of a folder's tokenizer without ``Fast``; empty if no file tells one.

    Args:
        folder: of the model.
        settings: of tokenizer_config.json; what it says comes first, then config.json.
        model_type: of config.json, which has a class where neither says one.

    Raises:
        ModelError: config.json cannot be read.
    """
    stated = settings.get("tokenizer_class")
    config = _optional(folder / "config.json") if not stated else None
    stated = stated or (config.values.get("tokenizer_class") if config else None)
    return str(stated or CLASS_OF_TYPE.get(model_type, "")).removesuffix("Fast")


def _class_of(files: Files, model_type: str) -> TokenizerClass:
    """Raises ModelError: it is not built here, or a file of it is missing."""
    name = class_name(files.folder, files.values, model_type)
    one = CLASSES.get(name)
    if one is None or files.values.get("auto_map"):
        what = f"tokenizer_class {name!r}" if name else f"a tokenizer for model_type {model_type!r}"
        raise ModelError(
            f"{files.folder / 'tokenizer.json'} is missing, and {what} is not made of other files here",
            hint(files.folder),
        )
    for file in one.files:
        check_file(files.folder / file, f"or {hint(files.folder)}" if file == one.files[0] else "copy the whole folder")
    return one


def _optional(file: Path) -> ModelConfig | None:
    return ModelConfig(file) if has_file(file) else None


def _named(one: TokenizerClass, special: SpecialTokens) -> dict[str, Token]:
    """Tokens by role, the class' own where no file names one; all of them special."""
    own = {name: token if isinstance(token, Token) else Token(token) for name, token in one.tokens.items()}
    joined = {**own, **special.named}
    order = [*(name for name in NAMES if name in joined), *(name for name in joined if name not in NAMES)]
    return {name: replace(joined[name], special=True) for name in order}


def _numbered(made: Made, special: SpecialTokens, named: Mapping[str, Token]) -> tuple[list[Json], dict[str, int]]:
    """The added tokens, and of each its number: the vocabulary's, or the next one that is free."""
    numbers = _vocabulary(made.model)
    free = max(numbers.values(), default=-1) + 1
    roles = {token.content for token in named.values()}
    entries: dict[str, Json] = {}
    for token in (*special.added, *named.values(), *(made.extra if special.extra is None else special.extra)):
        content = token.content
        if not content or content in entries:
            continue
        if content not in numbers:
            numbers[content] = free
            free += 1
        entries[content] = replace(token, special=token.special or content in roles).entry(numbers[content])
    return sorted(entries.values(), key=lambda entry: entry["id"]), numbers


def _vocabulary(model: Json) -> dict[str, int]:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        return dict(vocabulary)
    return {piece: number for number, (piece, _) in enumerate(vocabulary)}


def _post_processor(around: Around, named: Mapping[str, Token], numbers: Mapping[str, int], files: Files) -> Json:
    begin, end = named[around.begin].content, named[around.end].content
    if around.is_roberta:
        return {
            "type": "RobertaProcessing",
            "sep": [end, numbers[end]],
            "cls": [begin, numbers[begin]],
            "trim_offsets": files.flag("trim_offsets", default=True),
            "add_prefix_space": files.flag("add_prefix_space", default=False),
        }
    single = [_special(begin, 0), _sequence("A", 0), _special(end, 0)]
    joint = [_special(end, 0)] * (around.joints - 1)
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *joint, _sequence("B", around.second), _special(end, around.second)],
        "special_tokens": {
            token: {"id": token, "ids": [numbers[token]], "tokens": [token]} for token in dict.fromkeys((begin, end))
        },
    }


def _special(token: str, kind: int) -> Json:
    return {"SpecialToken": {"id": token, "type_id": kind}}


def _sequence(name: str, kind: int) -> Json:
    return {"Sequence": {"id": name, "type_id": kind}}
