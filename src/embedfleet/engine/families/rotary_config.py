"""Rotary position embeddings, read from config.json."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embedfleet.engine.families.ops import Rotary
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_GREATEST = 1e30  # limit of every number read here; sums and powers of larger ones would not be finite


def read_rotary(
    config: ModelConfig, head_size: int, *, theta: float, key: str = "rope_theta", layer_type: str = ""
) -> Rotary:
    """Read the rotary embedding of whole heads (Su et al. 2021, section 3.2.2).

    transformers 5 writes ``rope_parameters``; earlier versions wrote ``rope_scaling``, and the base under ``key``.
    ``rope_scaling`` takes precedence, as in transformers.

    Args:
        config: Config of the model.
        head_size: Width of a head.
        theta: Base if the config states none.
        key: Key of the base in older configs.
        layer_type: Layer type to read, if ``rope_parameters`` distinguishes layer types.

    Raises:
        ModelError: The rope type is not supported, or one of its values is not a valid number.
    """
    stated = config.values.get("rope_scaling") or config.values.get("rope_parameters") or {}
    if isinstance(stated, Mapping) and layer_type in stated:
        stated = stated[layer_type]
    return rotary_of(config, stated, head_size, theta=config.real(key, theta))


def rotary_of(config: ModelConfig, stated: object, head_size: int, *, theta: float) -> Rotary:
    """Make the rotary embedding that an object in a config describes.

    Args:
        config: Config that holds the object.
        stated: Object with ``rope_type`` (``type`` in older configs) and the keys that this type needs.
        head_size: Width of a head.
        theta: Base if the object states none.

    Raises:
        ModelError: The rope type is not supported, or one of its values is not a valid number.
    """
    if not isinstance(stated, Mapping):
        raise ModelError(f"{config.file}: `rope_parameters` is {stated!r}, it must be an object")
    if head_size < 2 or head_size % 2:
        raise ModelError(f"{config.file}: the head size is {head_size}, rotary embeddings need an even number from 2")
    for values in (stated, config.values):
        if values.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise ModelError(
                f"{config.file}: `partial_rotary_factor` is {values['partial_rotary_factor']!r}",
                "supported: 1, rotary embeddings of whole heads",
            )
    kind = stated.get("rope_type", stated.get("type", "default"))
    if not isinstance(kind, str) or kind not in _KINDS or stated.get("mixed_b") is not None:
        kinds = ", ".join(_KINDS)
        raise ModelError(f"{config.file}: rope_type {kind!r} is not supported", f"supported: {kinds}; no mixed_b")
    return _KINDS[kind](_Stated(config, stated, kind, head_size, theta))


@dataclass(frozen=True, slots=True)
class _Stated:
    """A rotary embedding as a config states it.

    Attributes:
        config: Config that states it.
        values: Keys and values of the object that states it.
        kind: Rope type.
        head_size: Width of a head.
        theta: Base if the values state none.
    """

    config: ModelConfig
    values: Mapping[str, Any]
    kind: str
    head_size: int
    theta: float

    def number(self, key: str, default: float | None = None) -> float:
        """Read a positive number.

        Raises:
            ModelError: The value is something else, or missing without a default.
        """
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _GREATEST:
            raise ModelError(f"{self.config.file}: `{key}` is {value!r}, it must be a positive number")
        return float(value)

    def factor(self, default: float | None = None) -> float:
        """Read the factor by which the positions are extended.

        Raises:
            ModelError: The value is not a number of at least 1.
        """
        factor = self.values.get("factor")
        factor = default if factor is None else factor
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 1 <= factor <= _GREATEST:
            raise ModelError(
                f"{self.config.file}: the `factor` of {self.kind} is {factor!r}, it must be a number of at least 1"
            )
        return float(factor)

    def trained_positions(self) -> float:
        """Read the number of positions before the extension; the key outside the object wins, as in transformers."""
        key = "original_max_position_embeddings"
        outside = self.config.number(key, 0)
        return float(outside) or self.number(key, self.config.number("max_position_embeddings", 0))

    def rotary(self, frequencies: list[float], scaling: float = 1.0) -> Rotary:
        """Make the embedding with these radians per position, one number per pair."""
        return Rotary(self.head_size, tuple(frequencies), scaling)

    def frequencies(self, base: float | None = None) -> list[float]:
        """Radians per position of each pair for ``base``, by default the stated base."""
        base = self.number("rope_theta", self.theta) if base is None else base
        return [base ** (-2.0 * pair / self.head_size) for pair in range(self.head_size // 2)]


def _plain(stated: _Stated) -> Rotary:
    return stated.rotary(stated.frequencies())


def _linear(stated: _Stated) -> Rotary:
    factor = stated.factor()
    return stated.rotary([frequency / factor for frequency in stated.frequencies()])


def _ntk(stated: _Stated) -> Rotary:
    """NTK scaling as in the code of Alibaba-NLP's models (modeling.py, NTKScalingRotaryEmbedding).

    The base is multiplied by the factor, and the angles are divided by the factor's (2 / head_size)-th power.
    """
    factor = stated.factor()
    slower = factor ** (2.0 / stated.head_size)
    base = stated.number("rope_theta", stated.theta) * factor
    return stated.rotary([frequency / slower for frequency in stated.frequencies(base)])


def _llama3(stated: _Stated) -> Rotary:
    """Llama 3.1: divide slow angles by the factor, keep fast ones, and interpolate between."""
    factor, trained = stated.factor(), stated.trained_positions()
    low, high = stated.number("low_freq_factor"), stated.number("high_freq_factor")
    if low >= high:
        raise ModelError(
            f"{stated.config.file}: `low_freq_factor` is {low}, it must be less than `high_freq_factor`, {high}"
        )

    def slowed(frequency: float) -> float:
        turns = trained * frequency / (2 * math.pi)  # within the trained positions
        if turns > high:
            return frequency
        if turns < low:
            return frequency / factor
        share = (turns - low) / (high - low)
        return (1 - share) * frequency / factor + share * frequency

    return stated.rotary([slowed(frequency) for frequency in stated.frequencies()])


def _yarn(stated: _Stated) -> Rotary:
    """YaRN (Peng et al. 2023): interpolate by a ramp over the pairs, and scale the cosines and sines."""
    trained, size = stated.trained_positions(), stated.head_size
    factor = stated.factor(stated.config.number("max_position_embeddings", 0) / trained)
    base = stated.number("rope_theta", stated.theta)
    if base <= 1:
        raise ModelError(f"{stated.config.file}: `rope_theta` is {base}, it must be greater than 1")

    def pair_of(turns: float) -> float:
        """Number of the pair that makes ``turns`` turns within the trained positions."""
        return size * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = pair_of(stated.number("beta_fast", 32)), pair_of(stated.number("beta_slow", 1))
    if stated.values.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    width = (high - low) or 0.001
    frequencies = []
    for pair, frequency in enumerate(stated.frequencies()):
        slow = min(max((pair - low) / width, 0.0), 1.0)
        frequencies.append(frequency / factor * slow + frequency * (1 - slow))
    return stated.rotary(frequencies, _yarn_scaling(stated, factor))


def _yarn_scaling(stated: _Stated, factor: float) -> float:
    """Factor of the cosines and sines."""
    if stated.values.get("attention_factor") is not None:
        return stated.number("attention_factor")

    def scale(by: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0

    if stated.values.get("mscale") and stated.values.get("mscale_all_dim"):
        return scale(stated.number("mscale")) / scale(stated.number("mscale_all_dim"))
    return scale(1.0)


_KINDS: dict[str, Callable[[_Stated], Rotary]] = {
    "default": _plain,
    "dynamic": _plain,  # differs only beyond max_position_embeddings, which no input exceeds
    "linear": _linear,
    "llama3": _llama3,
    "ntk": _ntk,
    "yarn": _yarn,
}
