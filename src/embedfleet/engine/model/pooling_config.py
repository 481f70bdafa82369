"""Pooling settings of a model folder.

Keys as in sentence-transformers 6.2, sentence_transformer/modules/pooling.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from embedfleet.engine.model.modules import Module
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.file_names import CONFIG, POOLING_FOLDER


class Pooling(StrEnum):
    """Kind of pooling of token states to one vector. The first three and the last are named as in TEI's ``/info``."""

    CLS = "cls"
    MEAN = "mean"
    LAST_TOKEN = "last_token"  # noqa: S105 - not a password
    MAX = "max"  # element-wise
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"  # the sum divided by the square root of the number of tokens
    WEIGHTED_MEAN = "weightedmean"  # weights 1, 2, … by position (SGPT; Muennighoff 2022)
    SPLADE = "splade"  # pools word logits, one per vocabulary word (Formal et al. 2021)


# Keys before version 6; at most one of them may be true.
_FLAGS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_lasttoken": Pooling.LAST_TOKEN,
    "pooling_mode_max_tokens": Pooling.MAX,
    "pooling_mode_mean_sqrt_len_tokens": Pooling.MEAN_SQRT_LEN,
    "pooling_mode_weightedmean_tokens": Pooling.WEIGHTED_MEAN,
}
_WIDTHS = ("word_embedding_dimension", "embedding_dimension")
_KNOWN = [pooling for pooling in Pooling if pooling is not Pooling.SPLADE]
_CHOICES = ", ".join(pooling.replace("_", "-") for pooling in _KNOWN)


@dataclass(frozen=True, slots=True)
class PoolingConfig:
    """Pooling settings of a folder.

    Attributes:
        pooling: Kind of pooling.
        includes_prompt: Whether a prompt's tokens are pooled.
    """

    pooling: Pooling
    includes_prompt: bool = True


def states_pooling(folder: Path, modules: Sequence[Module]) -> bool:
    """Whether a folder states its pooling."""
    return has_file(_file(folder, modules))


def read_pooling(folder: Path, modules: Sequence[Module], replacement: Pooling | None) -> PoolingConfig:
    """Read the pooling of a folder.

    Args:
        folder: Folder of the model.
        modules: Modules of the model.
        replacement: Pooling that replaces the folder's; None for the folder's.

    Raises:
        ModelError: Neither the folder nor ``replacement`` states a pooling, or the folder's is not supported.
    """
    file = _file(folder, modules)
    if not has_file(file):
        if replacement is not None:
            return PoolingConfig(replacement)
        raise ModelError(
            f"{file} is missing, so the model's pooling is unknown",
            f"set pooling to one of {_CHOICES}, as the model's card says; a wrong one silently gives worse vectors "
            "(without the file, sentence-transformers uses the mean, TEI the first token)",
        )
    config = ModelConfig(file)
    return PoolingConfig(replacement or _stated(config), config.flag("include_prompt", default=True))


def _file(folder: Path, modules: Sequence[Module]) -> Path:
    return next((one.folder for one in modules if one.name == "Pooling"), folder / POOLING_FOLDER) / CONFIG


def _stated(config: ModelConfig) -> Pooling:
    """Pooling that a file states, or the library's default if it states none."""
    mode = config.values.get("pooling_mode")
    names = mode if isinstance(mode, list) else [] if mode is None else [mode]
    found = [next((one for one in _KNOWN if name in (one.value, one.value.replace("_", ""))), name) for name in names]
    if mode is None:
        flags = {key: on for key, on in config.values.items() if key.startswith("pooling_mode_")}
        true = [key for key, on in flags.items() if on]
        is_filled_in = flags or any(key in config.values for key in _WIDTHS)
        found = [_FLAGS.get(key, key) for key in true] or ([Pooling.MEAN] if is_filled_in else [])
    if len(found) == 1 and isinstance(found[0], Pooling):
        return found[0]
    named = ", ".join(map(str, found)) or "none"
    raise ModelError(
        f"{config.file}: exactly one kind of pooling is supported, the file states: {named}",
        f"set pooling to one of {_CHOICES}, but only to the one that the model was trained with: another gives other "
        "vectors",
    )
