"""How a config.json states a rotary position embedding."""

from collections.abc import Mapping
from typing import Any

from embedfleet.engine.ops import Rotary
from embedfleet.errors import ModelError
from embedfleet.folder.config import ModelConfig


def read_rotary(
    config: ModelConfig, head_size: int, *, theta: float, key: str = "rope_theta", layers: str = ""
) -> Rotary:
    """The embedding of whole heads by angles that fall by powers of the base (Su et al. 2021, section 3.2.2).

    ``ntk`` stretches it, as Alibaba-NLP's models are told to (their modeling.py, NTKScalingRotaryEmbedding): the base
    is multiplied by the factor, and the angles are divided by its (2 / head_size)-th power.

    Args:
        config: the base stands in ``rope_parameters``, as transformers 5 writes it, or under ``key``, as before.
        head_size: width of one head.
        theta: the base where the config states none.
        key: of older configs.
        layers: the kind of layers that are asked for, where ``rope_parameters`` tells kinds apart.

    Raises:
        ModelError: it is of a kind that is not supported, or the base is no positive number.
    """
    stated = config.values.get("rope_parameters") or config.values.get("rope_scaling") or {}
    if isinstance(stated, Mapping) and layers in stated:
        stated = stated[layers]
    if not isinstance(stated, Mapping):
        raise ModelError(f"{config.file}: `rope_parameters` is {stated!r}, an object is needed")
    base = stated.get("rope_theta", config.real(key, theta))
    if isinstance(base, bool) or not isinstance(base, (int, float)) or base <= 0:
        raise ModelError(f"{config.file}: `rope_theta` is {base!r}, a positive number is needed")
    if head_size < 2 or head_size % 2:
        raise ModelError(f"{config.file}: heads are {head_size} wide, an even number from 2 is needed to turn them")
    factor = _stretch(config, stated)
    half, slower = head_size // 2, factor ** (2.0 / head_size)
    return Rotary(head_size, tuple((base * factor) ** (-2.0 * pair / head_size) / slower for pair in range(half)))


def _stretch(config: ModelConfig, stated: Mapping[str, Any]) -> float:
    """The factor of ``ntk``; 1 for the plain embedding.

    Raises:
        ModelError: it is of another kind.
    """
    kind, factor = stated.get("rope_type", stated.get("type", "default")), stated.get("factor")
    if kind == "default":
        return 1.0
    if kind != "ntk" or stated.get("mixed_b") is not None:
        raise ModelError(
            f"{config.file}: rope_type {kind!r} is not supported", "supported: default, ntk without mixed_b"
        )
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or factor < 1:
        raise ModelError(f"{config.file}: the `factor` of ntk is {factor!r}, a number from 1 is needed")
    return float(factor)
