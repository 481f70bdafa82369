"""Settings in ``tokenizer_config.json``: longest input and token types.

The rules are those of transformers 5.23, tokenization_utils_base.py.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.file_names import TOKENIZER, TOKENIZER_CONFIG

LENGTH = "model_max_length"
_TYPES = "token_type_ids"
_GENERAL_CLASS = "TokenizersBackend"


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """Settings of the tokenizer.

    Attributes:
        longest: Longest input, in tokens; None for no limit.
        has_token_types: Whether the model gets token types; otherwise all are 0.
    """

    longest: int | None = None
    has_token_types: bool = True


def read_tokenizer_config(folder: Path) -> TokenizerConfig:
    """Read the file of a transformer's folder, if there is one.

    Raises:
        ModelError: The file cannot be read, or has an unsupported setting.
    """
    file = folder / TOKENIZER_CONFIG
    if not has_file(file):
        return TokenizerConfig()
    config = ModelConfig(file)
    hint = "change it only if the model was not trained with it"
    for key, usual in (("truncation_side", "right"), ("split_special_tokens", False)):
        value = config.values.get(key)
        if value is not None and value != usual:
            raise ModelError(f"{file}: `{key}` is {value!r}, only {usual!r} is supported", hint)
    others = config.values.get("fast_tokenizer_files")
    if others and others != [TOKENIZER]:
        raise ModelError(f"{file}: `fast_tokenizer_files` is {others!r}, only {TOKENIZER} is supported", hint)
    return TokenizerConfig(_longest(config), _has_token_types(config))


def _has_token_types(config: ModelConfig) -> bool:
    """Whether the model gets token types.

    The general tokenizer class of transformers 5 gives none unless the folder lists them among the input names. Version
    4 never wrote that class.
    """
    names = config.values.get("model_input_names")
    if isinstance(names, list):
        return _TYPES in names
    return config.values.get("tokenizer_class") != _GENERAL_CLASS


def _longest(config: ModelConfig) -> int | None:
    """Longest input from ``model_max_length``, formerly ``max_len``; 1e30 there stands for no limit."""
    key = LENGTH if config.values.get(LENGTH) is not None else "max_len"
    return read_length(config, key, config.values.get(key))


def read_length(config: ModelConfig, key: str, value: object) -> int | None:
    """Read the length of the longest input, in tokens; None if ``value`` is None or infinite.

    Args:
        config: Config that states the value.
        key: Key for error messages.
        value: Value to read.

    Raises:
        ModelError: The value is not a number of at least 1.
    """
    if value is None or value == inf:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 1:
        raise ModelError(f"{config.file}: `{key}` is {value!r}, it must be a number of at least 1")
    return int(value)
