"""Gemma 3 (Gemma Team 2025), text model: causal, or bidirectional as in EmbeddingGemma."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.attention_pattern import (
    FULL,
    SLIDING,
    LayerAttention,
    read_layer_types,
    read_sliding_window,
)
from embedfleet.engine.families.decoder import Decoder, DecoderShape, read_grouped_attention
from embedfleet.engine.families.ops import ACTIVATIONS, Rotary
from embedfleet.engine.families.rotary_config import rotary_of
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_PATTERN = 6  # every sixth layer has full attention


class Gemma3(Decoder):
    """Gemma 3: blocks normalised before and after; most layers use a sliding window and their own rotary base."""

    model_types: ClassVar[tuple[str, ...]] = ("gemma3_text",)

    def __init__(self, config: ModelConfig) -> None:
        _refuse_unsupported(config)
        bias = config.flag("attention_bias", default=False)
        layers = _read_layers(config)
        scalar = config.real("query_pre_attn_scalar", 256.0)
        if not 0 < scalar < math.inf:
            raise ModelError(f"{config.file}: `query_pre_attn_scalar` is {scalar}, it must be a positive number")
        shape = DecoderShape(
            layers=layers,
            activation=config.choice("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh"),
            has_qkv_bias=bias,
            has_output_bias=bias,
            has_head_norms=True,
            has_post_norms=True,
            scale_offset=1.0,
            embedding_scale=config.number("hidden_size") ** 0.5,
            query_scale=(layers[0].attention.head_size / scalar) ** 0.5 if layers else 1.0,
        )
        super().__init__(config, shape, positions=131_072)
        if "pad_token_id" not in config.values:
            self._pad = 0


def _refuse_unsupported(config: ModelConfig) -> None:
    """Refuse values that are not computed here, or that transformers ignores.

    Raises:
        ModelError: The config has such a value.
    """
    if config.values.get("attn_logit_softcapping") is not None:
        raise ModelError(
            f"{config.file}: `attn_logit_softcapping` is {config.values['attn_logit_softcapping']!r}",
            "supported: null, as in every Gemma 3",
        )
    if not config.flag("is_causal", default=True):
        raise ModelError(
            f"{config.file}: `is_causal` is false, a key that Gemma 3 does not use",
            "for bidirectional attention set `use_bidirectional_attention` to true",
        )


def _read_layers(config: ModelConfig) -> list[LayerAttention]:
    """Read the attention of each layer."""
    is_bidirectional = config.flag("use_bidirectional_attention", default=False)
    full = read_grouped_attention(config, is_causal=not is_bidirectional, key_heads=4, size=256)
    count, every = config.number("num_hidden_layers"), max(1, config.number("sliding_window_pattern", _PATTERN))
    types = read_layer_types(config, count, [SLIDING if (number + 1) % every else FULL for number in range(count)])
    window = read_sliding_window(config, 4096)
    if window is None and SLIDING in types:
        raise ModelError(
            f"{config.file}: `sliding_window` is null", f"layers of type {SLIDING} need it: a number of tokens"
        )
    # A bidirectional window has half its tokens on each side; a causal one includes the token itself.
    reach = (window or 0) // 2 if is_bidirectional else (window or 1) - 1
    sliding = replace(full, window=reach)
    size = full.head_size
    layers = {
        FULL: LayerAttention(full, _rotary(config, size, FULL, theta=1_000_000.0, key="rope_theta")),
        SLIDING: LayerAttention(sliding, _rotary(config, size, SLIDING, theta=10_000.0, key="rope_local_base_freq")),
    }
    return [layers[kind] for kind in types]


def _rotary(config: ModelConfig, size: int, layer_type: str, *, theta: float, key: str) -> Rotary:
    """Read the rotary embedding of a layer type; older configs' ``rope_scaling`` applies to full attention only.

    Raises:
        ModelError: ``rope_parameters`` does not distinguish layer types; transformers would then use defaults.
    """
    parameters = config.values.get("rope_parameters") or {}
    if not isinstance(parameters, Mapping) or (parameters and not {FULL, SLIDING} & {*parameters}):
        raise ModelError(
            f"{config.file}: `rope_parameters` is {parameters!r}",
            f"supported: an object with the keys {FULL} and {SLIDING}",
        )
    stated = parameters.get(layer_type) or {}
    if layer_type == FULL and config.values.get("rope_scaling"):
        stated = {**stated, **config.values["rope_scaling"]}
    return rotary_of(config, stated, size, theta=config.real(key, theta))
