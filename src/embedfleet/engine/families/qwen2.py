"""Qwen2 (Yang et al. 2024): causal, or bidirectional as in gte-Qwen2."""

from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.attention_pattern import (
    FULL,
    SLIDING,
    LayerAttention,
    read_layer_types,
    read_sliding_window,
)
from embedfleet.engine.families.decoder import (
    Decoder,
    DecoderShape,
    read_activation,
    read_grouped_attention,
    read_is_causal,
)
from embedfleet.engine.families.ops import Attention
from embedfleet.engine.families.rotary_config import read_rotary
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


class Qwen2(Decoder):
    """Qwen2: biases on queries, keys and values only."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen2",)

    def __init__(self, config: ModelConfig) -> None:
        attention = read_grouped_attention(config, is_causal=read_is_causal(config), key_heads=32)
        shape = DecoderShape(
            layers=read_layer_attentions(config, attention), activation=read_activation(config), has_qkv_bias=True
        )
        super().__init__(config, shape, positions=32_768)


def read_layer_attentions(config: ModelConfig, attention: Attention) -> list[LayerAttention]:
    """Read the attention of each layer of a Qwen model.

    With ``use_sliding_window``, the layers from ``max_window_layers`` on have a sliding window.

    Args:
        config: Config of the model.
        attention: Attention of a layer without a window.

    Raises:
        ModelError: Layers have a sliding window whose size is not stated.
    """
    window = read_sliding_window(config, 4096) if config.flag("use_sliding_window", default=False) else None
    count, first = config.number("num_hidden_layers"), config.number("max_window_layers", 28)
    types = read_layer_types(
        config, count, [SLIDING if window is not None and number >= first else FULL for number in range(count)]
    )
    rotary = read_rotary(config, attention.head_size, theta=10_000.0)
    if SLIDING not in types:
        return [LayerAttention(attention, rotary)] * count
    if window is None:
        raise ModelError(
            f"{config.file}: `layer_types` names {SLIDING}, and no window is stated",
            "set `use_sliding_window` to true and `sliding_window` to the window's tokens",
        )
    # transformers counts the token itself in a causal window.
    sliding = replace(attention, window=window - 1 if attention.is_causal else window)
    return [LayerAttention(sliding if kind == SLIDING else attention, rotary) for kind in types]
