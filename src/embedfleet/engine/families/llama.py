"""Llama (Grattafiori et al. 2024), causal, and NVIDIA's ``llama_bidirec``, which looks both ways."""

import math
from typing import ClassVar

from embedfleet.engine.families.decoder import Build, Decoder, is_causal, read_activation, read_heads
from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.families.rotary import read_rotary
from embedfleet.engine.families.sight import Sight
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_BOTH_WAYS = "llama_bidirec"
_POOLINGS = {name: name for name in ("avg", "cls", "last")}


class Llama(Decoder):
    """See `Family`. ``llama_bidirec`` classifies by its own pooling, and divides the logits by a temperature."""

    model_types: ClassVar[tuple[str, ...]] = ("llama", _BOTH_WAYS)

    def __init__(self, config: ModelConfig) -> None:
        self._is_own = config.values.get("model_type") == _BOTH_WAYS
        causal = config.flag("is_causal", default=False) if self._is_own else is_causal(config)
        attention = read_heads(config, causal=causal)
        sight = Sight(attention, read_rotary(config, attention.head_size, theta=10_000.0))
        bias = config.flag("attention_bias", default=False)
        build = Build(
            sights=[sight] * config.number("num_hidden_layers"),
            activation=read_activation(config),
            input_bias=bias,
            output_bias=bias,
            feed_bias=config.flag("mlp_bias", default=False),
        )
        super().__init__(config, build, positions=2048)
        if self._is_own:
            self._pooling = str(config.choice("pooling", _POOLINGS, "avg"))
            self._temperature = config.real("temperature", 1.0)
            if not 0 < self._temperature < math.inf:
                raise ModelError(f"{config.file}: `temperature` is {self._temperature}, a positive number is needed")

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`."""
        if not self._is_own:
            return super().class_logits(ops, weights, states, labels)
        pool = {"avg": ops.mean, "cls": ops.first, "last": ops.last}[self._pooling]
        return ops.scale(self._score(ops, weights, pool(states), labels), 1.0 / self._temperature)
