"""The tokens to which bge-m3's sparse head gives no weight, as a model folder names them."""

from pathlib import Path

from embedfleet.model_folder.config import ModelConfig

# XLM-RoBERTa's own; a folder whose tokenizer has others says so.
_DEFAULTS = {"cls_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
NAMING_FILES = ("special_tokens_map.json", "tokenizer_config.json")
"""Files that name a folder's special tokens; the first takes precedence."""


def unweighted_tokens(folder: Path) -> list[str]:
    """The special tokens, which have no lexical weight whatever the head computes for them.

    Raises:
        ModelError: a file that should name them cannot be read.
    """
    named = dict(_DEFAULTS)
    for name in reversed(NAMING_FILES):
        if (folder / name).is_file():
            values = ModelConfig(folder / name).values
            named |= {key: _content(values[key]) for key in _DEFAULTS if values.get(key)}
    return list(named.values())


def _content(value: object) -> str:
    """A token, which may be written as an object."""
    return str(value.get("content")) if isinstance(value, dict) else str(value)
