"""Llama (Grattafiori et al. 2024), causal, and NVIDIA's bidirectional ``llama_bidirec``."""

import math
from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.attention_pattern import LayerAttention
from embedfleet.engine.families.decoder import (
    Decoder,
    DecoderShape,
    read_activation,
    read_grouped_attention,
    read_is_causal,
)
from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.families.rotary_config import read_rotary
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_BIDIRECTIONAL = "llama_bidirec"
_POOLINGS = {name: name for name in ("avg", "cls", "last")}


class Llama(Decoder):
    """Llama. ``llama_bidirec`` classifies with its own pooling and divides the logits by a temperature."""

    model_types: ClassVar[tuple[str, ...]] = ("llama", _BIDIRECTIONAL)

    def __init__(self, config: ModelConfig) -> None:
        self._is_bidirectional_type = config.values.get("model_type") == _BIDIRECTIONAL
        is_causal = config.flag("is_causal", default=False) if self._is_bidirectional_type else read_is_causal(config)
        attention = read_grouped_attention(config, is_causal=is_causal)
        layer = LayerAttention(attention, read_rotary(config, attention.head_size, theta=10_000.0))
        bias = config.flag("attention_bias", default=False)
        shape = DecoderShape(
            layers=[layer] * config.number("num_hidden_layers"),
            activation=read_activation(config),
            has_qkv_bias=bias,
            has_output_bias=bias,
            has_feed_forward_bias=config.flag("mlp_bias", default=False),
        )
        super().__init__(config, shape, positions=2048)
        if self._is_bidirectional_type:
            self._pooling = str(config.choice("pooling", _POOLINGS, "avg"))
            self._temperature = config.real("temperature", 1.0)
            if not 0 < self._temperature < math.inf:
                raise ModelError(f"{config.file}: `temperature` is {self._temperature}, it must be a positive number")

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        if not self._is_bidirectional_type:
            return super().class_logits(ops, weights, states, labels)
        pool = {"avg": ops.mean, "cls": ops.first, "last": ops.last}[self._pooling]
        return ops.scale(self._score(ops, weights, pool(states), labels), 1.0 / self._temperature)
