"""Gemma 3 (Gemma Team 2025), its text model, as EmbeddingGemma uses it, which looks both ways, or causal."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.decoder import Build, Decoder, read_heads
from embedfleet.engine.families.ops import ACTIVATIONS, Rotary
from embedfleet.engine.families.rotary import rotary_of
from embedfleet.engine.families.sight import FULL, LOCAL, Sight, read_kinds, read_window
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_EVERY = 6  # of so many layers the last sees everything


class Gemma3(Decoder):
    """See `Family`. Each part is normalised before and after; most layers look nearby, by places of their own base."""

    model_types: ClassVar[tuple[str, ...]] = ("gemma3_text",)

    def __init__(self, config: ModelConfig) -> None:
        _refuse(config)
        bias = config.flag("attention_bias", default=False)
        sights = _read_sights(config)
        scalar = config.real("query_pre_attn_scalar", 256.0)
        if not 0 < scalar < math.inf:
            raise ModelError(f"{config.file}: `query_pre_attn_scalar` is {scalar}, a positive number is needed")
        build = Build(
            sights=sights,
            activation=config.choice("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh"),
            input_bias=bias,
            output_bias=bias,
            norms_heads=True,
            norms_twice=True,
            norms_above=1.0,
            words_scale=config.number("hidden_size") ** 0.5,
            scores_scale=(sights[0].attention.head_size / scalar) ** 0.5 if sights else 1.0,
        )
        super().__init__(config, build, positions=131_072)
        if "pad_token_id" not in config.values:
            self._pad = 0


def _refuse(config: ModelConfig) -> None:
    """Raises ModelError: a key asks for what is not computed, or by transformers not either."""
    if config.values.get("attn_logit_softcapping") is not None:
        raise ModelError(
            f"{config.file}: `attn_logit_softcapping` is {config.values['attn_logit_softcapping']!r}",
            "supported: null, as of every Gemma 3",
        )
    if not config.flag("is_causal", default=True):
        raise ModelError(
            f"{config.file}: `is_causal` is false", "Gemma 3 says it by `use_bidirectional_attention`: set that to true"
        )


def _read_sights(config: ModelConfig) -> list[Sight]:
    """Of each layer."""
    both_ways = config.flag("use_bidirectional_attention", default=False)
    full = read_heads(config, causal=not both_ways, key_heads=4, size=256)
    count, every = config.number("num_hidden_layers"), max(1, config.number("sliding_window_pattern", _EVERY))
    kinds = read_kinds(config, count, [LOCAL if (number + 1) % every else FULL for number in range(count)])
    window = read_window(config, 4096)
    if window is None and LOCAL in kinds:
        raise ModelError(f"{config.file}: `sliding_window` is null", f"layers of {LOCAL} need it: a number of tokens")
    # Both ways the window is half of it to each side; one way it counts the token itself.
    nearby = replace(full, window=(window or 0) // 2 if both_ways else (window or 1) - 1)
    local = _rotary(config, full.head_size, LOCAL, theta=10_000.0, key="rope_local_base_freq")
    sights = {
        FULL: Sight(full, _rotary(config, full.head_size, FULL, theta=1_000_000.0, key="rope_theta")),
        LOCAL: Sight(nearby, local),
    }
    return [sights[kind] for kind in kinds]


def _rotary(config: ModelConfig, size: int, kind: str, *, theta: float, key: str) -> Rotary:
    """Of one kind of layers; older configs state ``rope_scaling``, which is for those that see everything.

    Raises:
        ModelError: ``rope_parameters`` does not tell the kinds apart, which transformers takes for defaults.
    """
    parameters = config.values.get("rope_parameters") or {}
    if not isinstance(parameters, Mapping) or (parameters and not {FULL, LOCAL} & {*parameters}):
        raise ModelError(
            f"{config.file}: `rope_parameters` is {parameters!r}", f"an object of {FULL} and {LOCAL} is needed"
        )
    stated = parameters.get(kind) or {}
    if kind == FULL and config.values.get("rope_scaling"):
        stated = {**stated, **config.values["rope_scaling"]}
    return rotary_of(config, stated, size, theta=config.real(key, theta))
