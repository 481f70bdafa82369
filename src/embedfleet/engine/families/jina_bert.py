"""JinaBERT (Günther et al. 2023), ``bert`` with ``position_embedding_type`` ``alibi``: gated, places by distance."""

import math
from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.jina_code import MARK, JinaCode
from embedfleet.engine.families.layers import PostNorm, bert_words, heads_of, linear, pooled_classes
from embedfleet.engine.families.ops import Activation, Alibi, Ops, V
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig

_NAMES = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "mlp.gated_layers",
    "mlp.wo",
    "mlp.layernorm",
)
_GATES: dict[str, Activation] = {"geglu": "gelu", "reglu": "relu"}


class JinaBert:
    """See `Family`. There is no table of positions: far tokens count less, by each head's slope.

    jina-embeddings-v2-base-code has layers of another order, `jina_code`, which only its tensors tell: both call
    themselves the same.
    """

    model_types: ClassVar[tuple[str, ...]] = ("jina_bert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    def __init__(self, config: ModelConfig) -> None:
        config.choice("position_embedding_type", {"alibi": True}, "")
        self._gate = config.choice("feed_forward_type", _GATES, "")
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = config.number("type_vocab_size")
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings")
        self._layers = config.number("num_hidden_layers")
        attention = heads_of(config, "num_attention_heads", self.hidden_size)
        self._attention = replace(attention, bias=Alibi(slopes(attention.heads)))
        self._encoder = PostNorm.of(config, _NAMES)

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        hidden, encoder, name = self.hidden_size, self._encoder, "embeddings."
        is_code, code = weights.has_body(f"encoder.layer.0.{MARK}"), JinaCode(encoder, self._gate, self._attention)
        types = weights.body(f"{name}token_type_embeddings.weight", self.token_types, hidden)
        states = ops.add(ops.embed(self._words(weights), ops.ids), ops.embed(types, ops.types))
        states = encoder.norm(ops, weights, f"{name}LayerNorm", states)
        for number in range(self._layers):
            prefix = f"encoder.layer.{number}."
            if is_code:
                states = code.layer(ops, weights, prefix, states)
                continue
            states = encoder.attend(ops, weights, prefix, states, self._attention)
            both = linear(weights.body, prefix + _NAMES[5], hidden, 2 * encoder.wide, bias=False)
            gate, up = ops.split(ops.dense(states, both), (encoder.wide, encoder.wide))
            inner = ops.multiply(ops.activate(gate, self._gate), up)
            states = encoder.feed(ops, weights, prefix, states, inner)
        return states

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`."""
        return pooled_classes(ops, weights, states, self.hidden_size, labels)

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`."""
        return bert_words(ops, weights, states, self._encoder, self._words(weights))

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)


def slopes(heads: int) -> tuple[float, ...]:
    """ALiBi's slope of each head (Press et al. 2022, section 3, and the authors' rule for other numbers of heads).

    Of a power of two they fall from 2^(-8/heads) by that ratio to 2^-8. Otherwise come those of the power of two below,
    and then every second one of the power of two above.
    """
    below = 2 ** int(math.log2(heads))
    first = [2.0 ** (-8.0 * head / below) for head in range(1, below + 1)]
    between = [2.0 ** (-4.0 * head / below) for head in range(1, 2 * below + 1, 2)]
    return tuple(first + between[: heads - below])
