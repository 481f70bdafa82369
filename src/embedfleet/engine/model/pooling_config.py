"""Reads from a folder how token states are pooled to one vector.

Source of the keys: sentence-transformers 6.2, sentence_transformer/modules/pooling.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from embedfleet.engine.model.modules import Module
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file


class Pooling(StrEnum):
    """How token states become one vector; the first three and the last have the names of TEI's ``/info``."""

    CLS = "cls"
    MEAN = "mean"
    LAST_TOKEN = "last_token"  # noqa: S105 - no password
    MAX = "max"  # of each element
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"  # the sum over the root of how many tokens there are
    WEIGHTED_MEAN = "weightedmean"  # the first token counts once, the second twice, … (SGPT; Muennighoff 2022)
    SPLADE = "splade"  # of word logits, one number per word of the vocabulary (Formal et al. 2021)


# As it was written before version 6: one of these is true.
_FLAGS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_lasttoken": Pooling.LAST_TOKEN,
    "pooling_mode_max_tokens": Pooling.MAX,
    "pooling_mode_mean_sqrt_len_tokens": Pooling.MEAN_SQRT_LEN,
    "pooling_mode_weightedmean_tokens": Pooling.WEIGHTED_MEAN,
}
_WIDTHS = ("word_embedding_dimension", "embedding_dimension")
_USUAL = "1_Pooling"
_KNOWN = [pooling for pooling in Pooling if pooling is not Pooling.SPLADE]
_CHOICES = ", ".join(pooling.replace("_", "-") for pooling in _KNOWN)


@dataclass(frozen=True, slots=True)
class PoolingConfig:
    """What it says.

    Attributes:
        pooling: which tokens count, and how.
        includes_prompt: whether those of a prompt count.
    """

    pooling: Pooling
    includes_prompt: bool = True


def states_pooling(folder: Path, modules: Sequence[Module]) -> bool:
    """Whether a folder says how its states are pooled."""
    return has_file(_file(folder, modules))


def read_pooling(folder: Path, modules: Sequence[Module], asked: Pooling | None) -> PoolingConfig:
    """Read what a folder says.

    Args:
        folder: of the model.
        modules: of the model.
        asked: instead of the pooling that the file states.

    Raises:
        ModelError: nothing is stated and nothing asked, or something that we do not compute.
    """
    file = _file(folder, modules)
    if not has_file(file):
        if asked is not None:
            return PoolingConfig(asked)
        raise ModelError(
            f"{file} is missing, so the model's pooling is not stated",
            f"state it: pooling = one of {_CHOICES}; see the model's card, for a wrong one gives worse vectors that "
            "look no different (without the file sentence-transformers takes the mean, TEI the first token)",
        )
    config = ModelConfig(file)
    return PoolingConfig(asked or _stated(config), config.flag("include_prompt", default=True))


def _file(folder: Path, modules: Sequence[Module]) -> Path:
    return next((one.folder for one in modules if one.name == "Pooling"), folder / _USUAL) / "config.json"


def _stated(config: ModelConfig) -> Pooling:
    """The one kind that a file states; the library's default where it states none."""
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
        f"of the same weights another pooling makes another model: ask for one only if it was trained so (pooling = "
        f"one of {_CHOICES})",
    )
