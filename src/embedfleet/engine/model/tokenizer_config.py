"""Reads ``tokenizer_config.json``: longest input, token types (transformers 5.23, tokenization_utils_base.py)."""

from dataclasses import dataclass
from math import inf
from pathlib import Path

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.slow_tokenizer import CONFIG_FILE

LENGTH = "model_max_length"
_TYPES = "token_type_ids"
_GENERAL_CLASS = "TokenizersBackend"


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """What it says.

    Attributes:
        longest: tokens of the longest input; None where none is meant.
        gives_types: whether the model is told token types; without, all are 0.
    """

    longest: int | None = None
    gives_types: bool = True


def read_tokenizer_config(folder: Path) -> TokenizerConfig:
    """Read the file of a transformer's folder, if there is one.

    Raises:
        ModelError: it cannot be read, or asks for what we do not do.
    """
    file = folder / CONFIG_FILE
    if not has_file(file):
        return TokenizerConfig()
    config = ModelConfig(file)
    hint = "change it only if the model's vectors are meant without it"
    for key, usual in (("truncation_side", "right"), ("split_special_tokens", False)):
        value = config.values.get(key)
        if value is not None and value != usual:
            raise ModelError(f"{file}: `{key}` is {value!r}, supported is {usual!r}", hint)
    others = config.values.get("fast_tokenizer_files")
    if others and others != ["tokenizer.json"]:
        raise ModelError(f"{file}: `fast_tokenizer_files` is {others!r}, supported is tokenizer.json alone", hint)
    return TokenizerConfig(_longest(config), _gives_types(config))


def _gives_types(config: ModelConfig) -> bool:
    """Transformers 5 gives none by its general class where the folder states no names; version 4 never wrote that."""
    names = config.values.get("model_input_names")
    if isinstance(names, list):
        return _TYPES in names
    return config.values.get("tokenizer_class") != _GENERAL_CLASS


def _longest(config: ModelConfig) -> int | None:
    """``model_max_length``, which is 1e30 where there is no limit; ``max_len`` as it was called before."""
    key = LENGTH if config.values.get(LENGTH) is not None else "max_len"
    return read_length(config, key, config.values.get(key))


def read_length(config: ModelConfig, key: str, value: object) -> int | None:
    """How many tokens an input may have; None where ``value`` is none, or no limit.

    Raises:
        ModelError: it is something else.
    """
    if value is None or value == inf:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 1:
        raise ModelError(f"{config.file}: `{key}` is {value!r}, a number from 1 is needed")
    return int(value)
