"""Qwen3 (Yang et al. 2025), as Qwen3-Embedding and Qwen3-Reranker use it, and pplx-embed, which looks both ways."""

from typing import ClassVar

from embedfleet.engine.families.decoder import Build, Decoder, is_causal, read_activation, read_heads
from embedfleet.engine.families.qwen2 import read_sights
from embedfleet.model_folder.config import ModelConfig

_BOTH_WAYS = "bidirectional_pplx_qwen3"


class Qwen3(Decoder):
    """See `Family`. Queries and keys are normalised by head."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen3", _BOTH_WAYS)

    def __init__(self, config: ModelConfig) -> None:
        causal = config.values.get("model_type") != _BOTH_WAYS and is_causal(config)
        bias = config.flag("attention_bias", default=False)
        build = Build(
            sights=read_sights(config, read_heads(config, causal=causal, key_heads=32, size=128)),
            activation=read_activation(config),
            input_bias=bias,
            output_bias=bias,
            norms_heads=True,
        )
        super().__init__(config, build, positions=32_768)
