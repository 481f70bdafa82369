"""Attention of each layer: full or sliding-window, as config.json states it."""

from dataclasses import dataclass

from embedfleet.engine.families.ops import Attention, Rotary
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

FULL, SLIDING = "full_attention", "sliding_attention"
"""Layer types: attention over the whole sequence, or within a sliding window."""


@dataclass(frozen=True, slots=True)
class LayerAttention:
    """Attention and rotary embedding of a single layer."""

    attention: Attention
    rotary: Rotary


def read_layer_types(config: ModelConfig, count: int, default: list[str]) -> list[str]:
    """Read the type of each layer: `FULL` or `SLIDING`.

    Args:
        config: Config of the model, with or without ``layer_types``.
        count: Number of layers.
        default: Types if the config states none.

    Raises:
        ModelError: A type is unknown, or there are not ``count`` types.
    """
    kinds: object = config.values.get("layer_types") or default
    if not isinstance(kinds, list) or len(kinds) != count or not all(kind in [FULL, SLIDING] for kind in kinds):
        raise ModelError(
            f"{config.file}: `layer_types` is {kinds!r}", f"supported: a list of {count}, each {FULL} or {SLIDING}"
        )
    return kinds


def read_sliding_window(config: ModelConfig, default: int | None) -> int | None:
    """Read ``sliding_window``, in tokens; None for no window.

    Args:
        config: Config of the model; null stands for no window.
        default: Window if the key is absent.

    Raises:
        ModelError: The value is not a whole number of at least 1.
    """
    if "sliding_window" not in config.values:
        return default
    if config.values["sliding_window"] is None:
        return None
    window = config.number("sliding_window")
    if window < 1:
        raise ModelError(f"{config.file}: `sliding_window` is {window}, it must be at least 1")
    return window
