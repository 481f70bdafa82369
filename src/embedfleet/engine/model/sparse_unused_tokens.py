"""Special tokens that bge-m3's sparse head gives no weight; FlagEmbedding calls them unused tokens."""

from pathlib import Path

from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file_names import SPECIAL_TOKEN_FILES

# The tokens of XLM-RoBERTa; a folder with another tokenizer names its own.
_DEFAULTS = {"cls_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def sparse_unused_tokens(folder: Path) -> list[str]:
    """Read the special tokens that get no lexical weight, whatever the head computes for them.

    Raises:
        ModelError: A file that names special tokens cannot be read.
    """
    named = dict(_DEFAULTS)
    for name in reversed(SPECIAL_TOKEN_FILES):
        if (folder / name).is_file():
            values = ModelConfig(folder / name).values
            named |= {key: _content(values[key]) for key in _DEFAULTS if values.get(key)}
    return list(named.values())


def _content(value: object) -> str:
    """Text of a token, which may be stated as an object."""
    return str(value.get("content")) if isinstance(value, dict) else str(value)
