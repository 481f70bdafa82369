"""Mistral (Jiang et al. 2023), as in e5-mistral: causal, with a sliding window unless the config states null."""

from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.attention_pattern import LayerAttention, read_sliding_window
from embedfleet.engine.families.decoder import (
    Decoder,
    DecoderShape,
    read_activation,
    read_grouped_attention,
    read_is_causal,
)
from embedfleet.engine.families.rotary_config import read_rotary
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


class Mistral(Decoder):
    """Mistral: identical layers, no biases."""

    model_types: ClassVar[tuple[str, ...]] = ("mistral",)

    def __init__(self, config: ModelConfig) -> None:
        if config.values.get("layer_types"):
            raise ModelError(
                f"{config.file}: `layer_types` is {config.values['layer_types']!r}",
                "supported: Mistral without `layer_types`, whose layers are all alike",
            )
        attention = read_grouped_attention(config, is_causal=read_is_causal(config), key_heads=8)
        window = read_sliding_window(config, 4096)
        if window is not None:  # transformers counts the token itself in a causal window
            attention = replace(attention, window=window - 1 if attention.is_causal else window)
        layer = LayerAttention(attention, read_rotary(config, attention.head_size, theta=10_000.0))
        layers = [layer] * config.number("num_hidden_layers")
        super().__init__(config, DecoderShape(layers, read_activation(config)), positions=131_072)
