"""How a config.json states a rotary position embedding."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embedfleet.engine.families.ops import Rotary
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_GREATEST = 1e30  # of any number here: beyond, sums and powers of it would not be finite


def read_rotary(
    config: ModelConfig, head_size: int, *, theta: float, key: str = "rope_theta", layers: str = ""
) -> Rotary:
    """The embedding of whole heads by angles that fall by powers of the base (Su et al. 2021, section 3.2.2).

    Args:
        config: states it in ``rope_parameters``, as transformers 5 writes it, or in ``rope_scaling`` and the base under
            ``key``, as before. What is in ``rope_scaling`` counts before, as there.
        head_size: width of one head.
        theta: the base where the config states none.
        key: of older configs.
        layers: the kind of layers that are asked for, where ``rope_parameters`` tells kinds apart.

    Raises:
        ModelError: it is of a kind that is not supported, or a number of it is no such.
    """
    stated = config.values.get("rope_scaling") or config.values.get("rope_parameters") or {}
    if isinstance(stated, Mapping) and layers in stated:
        stated = stated[layers]
    return rotary_of(config, stated, head_size, theta=config.real(key, theta))


def rotary_of(config: ModelConfig, stated: object, head_size: int, *, theta: float) -> Rotary:
    """As `read_rotary`, of what is stated for the layers in question.

    Args:
        config: that it stands in.
        stated: an object with ``rope_type`` (``type`` in older configs) and what that kind needs.
        head_size: width of one head.
        theta: the base where it states none.

    Raises:
        ModelError: as `read_rotary`.
    """
    if not isinstance(stated, Mapping):
        raise ModelError(f"{config.file}: `rope_parameters` is {stated!r}, an object is needed")
    if head_size < 2 or head_size % 2:
        raise ModelError(f"{config.file}: heads are {head_size} wide, an even number from 2 is needed to turn them")
    for values in (stated, config.values):
        if values.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise ModelError(
                f"{config.file}: `partial_rotary_factor` is {values['partial_rotary_factor']!r}",
                "supported: 1, heads that are turned as a whole",
            )
    kind = stated.get("rope_type", stated.get("type", "default"))
    if not isinstance(kind, str) or kind not in _KINDS or stated.get("mixed_b") is not None:
        kinds = ", ".join(_KINDS)
        raise ModelError(f"{config.file}: rope_type {kind!r} is not supported", f"supported: {kinds}; no mixed_b")
    return _KINDS[kind](_Stated(config, stated, kind, head_size, theta))


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a config says of a rotary embedding, read number by number."""

    config: ModelConfig
    values: Mapping[str, Any]
    kind: str
    head_size: int
    theta: float

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number.

        Raises:
            ModelError: it is something else, or missing with no default.
        """
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _GREATEST:
            raise ModelError(f"{self.config.file}: `{key}` is {value!r}, a positive number is needed")
        return float(value)

    def factor(self, default: float | None = None) -> float:
        """By which it is stretched.

        Raises:
            ModelError: it is no number from 1.
        """
        factor = self.values.get("factor")
        factor = default if factor is None else factor
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 1 <= factor <= _GREATEST:
            raise ModelError(
                f"{self.config.file}: the `factor` of {self.kind} is {factor!r}, a number from 1 is needed"
            )
        return float(factor)

    def trained_positions(self) -> float:
        """How many the model had before it was stretched; transformers reads the key outside first."""
        key = "original_max_position_embeddings"
        outside = self.config.number(key, 0)
        return float(outside) or self.number(key, self.config.number("max_position_embeddings", 0))

    def turned(self, frequencies: list[float], scaling: float = 1.0) -> Rotary:
        """Of those radians per position, one per pair."""
        return Rotary(self.head_size, tuple(frequencies), scaling)

    def plain(self, base: float | None = None) -> list[float]:
        """Radians per position of a base, which is what is stated or ``base``."""
        base = self.number("rope_theta", self.theta) if base is None else base
        return [base ** (-2.0 * pair / self.head_size) for pair in range(self.head_size // 2)]


def _plain(stated: _Stated) -> Rotary:
    return stated.turned(stated.plain())


def _linear(stated: _Stated) -> Rotary:
    factor = stated.factor()
    return stated.turned([frequency / factor for frequency in stated.plain()])


def _ntk(stated: _Stated) -> Rotary:
    """As Alibaba-NLP's models are told to stretch (their modeling.py, NTKScalingRotaryEmbedding).

    The base is multiplied by the factor, and the angles are divided by its (2 / head_size)-th power.
    """
    factor = stated.factor()
    slower = factor ** (2.0 / stated.head_size)
    base = stated.number("rope_theta", stated.theta) * factor
    return stated.turned([frequency / slower for frequency in stated.plain(base)])


def _llama3(stated: _Stated) -> Rotary:
    """Slow angles are divided by the factor, fast ones are left, and those between are mixed (Llama 3.1)."""
    factor, trained = stated.factor(), stated.trained_positions()
    low, high = stated.number("low_freq_factor"), stated.number("high_freq_factor")
    if low >= high:
        raise ModelError(
            f"{stated.config.file}: `low_freq_factor` is {low}, it must be below `high_freq_factor`, {high}"
        )

    def slowed(frequency: float) -> float:
        turns = trained * frequency / (2 * math.pi)  # within the positions that the model was trained for
        if turns > high:
            return frequency
        if turns < low:
            return frequency / factor
        share = (turns - low) / (high - low)
        return (1 - share) * frequency / factor + share * frequency

    return stated.turned([slowed(frequency) for frequency in stated.plain()])


def _yarn(stated: _Stated) -> Rotary:
    """YaRN (Peng et al. 2023): the same by a ramp over the pairs, and cosines and sines are scaled."""
    trained, size = stated.trained_positions(), stated.head_size
    factor = stated.factor(stated.config.number("max_position_embeddings", 0) / trained)
    base = stated.number("rope_theta", stated.theta)
    if base <= 1:
        raise ModelError(f"{stated.config.file}: `rope_theta` is {base}, a number above 1 is needed")

    def pair_of(turns: float) -> float:
        """The pair that turns so often within the trained positions."""
        return size * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = pair_of(stated.number("beta_fast", 32)), pair_of(stated.number("beta_slow", 1))
    if stated.values.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    width = (high - low) or 0.001
    frequencies = []
    for pair, frequency in enumerate(stated.plain()):
        slow = min(max((pair - low) / width, 0.0), 1.0)
        frequencies.append(frequency / factor * slow + frequency * (1 - slow))
    return stated.turned(frequencies, _yarn_scaling(stated, factor))


def _yarn_scaling(stated: _Stated, factor: float) -> float:
    if stated.values.get("attention_factor") is not None:
        return stated.number("attention_factor")

    def grown(by: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0

    if stated.values.get("mscale") and stated.values.get("mscale_all_dim"):
        return grown(stated.number("mscale")) / grown(stated.number("mscale_all_dim"))
    return grown(1.0)


_KINDS: dict[str, Callable[[_Stated], Rotary]] = {
    "default": _plain,
    "dynamic": _plain,  # it stretches beyond max_position_embeddings, and no input is longer
    "linear": _linear,
    "llama3": _llama3,
    "ntk": _ntk,
    "yarn": _yarn,
}
