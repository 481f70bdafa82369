"""How the tokens of a layer see each other, and how a config.json tells kinds of layers apart."""

from dataclasses import dataclass

from embedfleet.engine.families.ops import Attention, Rotary
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

FULL, LOCAL = "full_attention", "sliding_attention"
"""Kinds of layers: their tokens see the whole sequence, or those nearby."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Of one layer."""

    attention: Attention
    rotary: Rotary


def read_kinds(config: ModelConfig, count: int, default: list[str]) -> list[str]:
    """The kind of each layer.

    Args:
        config: names them under ``layer_types``, or not at all.
        count: of the layers.
        default: where it does not.

    Raises:
        ModelError: a kind is not known, or there are not as many as layers.
    """
    kinds: object = config.values.get("layer_types") or default
    if not isinstance(kinds, list) or len(kinds) != count or not all(kind in [FULL, LOCAL] for kind in kinds):
        raise ModelError(f"{config.file}: `layer_types` is {kinds!r}", f"{count} of these are needed: {FULL}, {LOCAL}")
    return kinds


def read_window(config: ModelConfig, default: int | None) -> int | None:
    """How many tokens a layer that looks nearby sees to one side, as ``sliding_window`` states it; None means all.

    Args:
        config: ``null`` there means all.
        default: where the key is absent.

    Raises:
        ModelError: it is no whole number from 1.
    """
    if "sliding_window" not in config.values:
        return default
    if config.values["sliding_window"] is None:
        return None
    window = config.number("sliding_window")
    if window < 1:
        raise ModelError(f"{config.file}: `sliding_window` is {window}, a number from 1 is needed")
    return window
