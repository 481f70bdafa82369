"""Qwen3 (Yang et al. 2025): causal, as in Qwen3-Embedding and Qwen3-Reranker, or bidirectional, as in pplx-embed."""

from typing import ClassVar

from embedfleet.engine.families.decoder import (
    Decoder,
    DecoderShape,
    read_activation,
    read_grouped_attention,
    read_is_causal,
)
from embedfleet.engine.families.qwen2 import read_layer_attentions
from embedfleet.model_folder.config import ModelConfig

_BIDIRECTIONAL = "bidirectional_pplx_qwen3"


class Qwen3(Decoder):
    """Qwen3: queries and keys normalised per head."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen3", _BIDIRECTIONAL)

    def __init__(self, config: ModelConfig) -> None:
        is_causal = config.values.get("model_type") != _BIDIRECTIONAL and read_is_causal(config)
        attention = read_grouped_attention(config, is_causal=is_causal, key_heads=32, size=128)
        bias = config.flag("attention_bias", default=False)
        shape = DecoderShape(
            layers=read_layer_attentions(config, attention),
            activation=read_activation(config),
            has_qkv_bias=bias,
            has_output_bias=bias,
            has_head_norms=True,
        )
        super().__init__(config, shape, positions=32_768)
