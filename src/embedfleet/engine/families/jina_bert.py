"""JinaBERT (Günther et al. 2023): BERT with ALiBi and a gated feed-forward block.

Its config.json may state the type ``bert``, with ``alibi`` positions.
"""

import math
from dataclasses import replace
from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.jina_code import MARK, JinaCodeLayer
from embedfleet.engine.families.ops import Activation, Alibi, Ops, V
from embedfleet.engine.families.post_norm_encoder import LayerNames, PostNormEncoder
from embedfleet.engine.families.shared_layers import linear, read_attention
from embedfleet.engine.families.task_heads import bert_class_logits, bert_word_logits
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig

_NAMES = LayerNames(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="mlp.gated_layers",
    down="mlp.wo",
    feed_forward_norm="mlp.layernorm",
)
_GATES: dict[str, Activation] = {"geglu": "gelu", "reglu": "relu"}


class JinaBert(Family):
    """JinaBERT: no position embeddings; ALiBi lowers the scores of distant tokens.

    The layers of jina-embeddings-v2-base-code differ (`jina_code`). Its config.json does not say so; only its tensor
    names show it.
    """

    model_types: ClassVar[tuple[str, ...]] = ("jina_bert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        config.choice("position_embedding_type", {"alibi": True}, "")
        self._gate = config.choice("feed_forward_type", _GATES, "")
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = config.number("type_vocab_size")
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings")
        self._layers = config.number("num_hidden_layers")
        attention = read_attention(config, "num_attention_heads", self.hidden_size)
        self._attention = replace(attention, bias=Alibi(alibi_slopes(attention.heads)))
        self._encoder = PostNormEncoder.from_config(config, _NAMES)

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        hidden, encoder, name = self.hidden_size, self._encoder, "embeddings."
        types = weights.body(f"{name}token_type_embeddings.weight", self.token_types, hidden)
        states = ops.add(ops.embed(self._words(weights), ops.ids), ops.embed(types, ops.types))
        states = encoder.norm(ops, weights, f"{name}LayerNorm", states)
        is_code = weights.has_in_body(f"encoder.layer.0.{MARK}")
        layer = JinaCodeLayer(encoder, self._gate, self._attention).run if is_code else self._layer
        for number in range(self._layers):
            states = layer(ops, weights, f"encoder.layer.{number}.", states)
        return states

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        return bert_class_logits(ops, weights, states, self.hidden_size, labels)

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        return bert_word_logits(ops, weights, states, self._encoder, self._words(weights))

    def _layer(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        encoder = self._encoder
        states = encoder.attend(ops, weights, prefix, states, self._attention)
        merged = linear(weights.body, prefix + _NAMES.up, encoder.width, 2 * encoder.inner_width, bias=False)
        gate, up = ops.split(ops.dense(states, merged), (encoder.inner_width, encoder.inner_width))
        inner = ops.multiply(ops.activate(gate, self._gate), up)
        return encoder.feed_forward_end(ops, weights, prefix, states, inner)

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)


def alibi_slopes(heads: int) -> tuple[float, ...]:
    """ALiBi's slope of each head (Press et al. 2022, section 3, and the authors' code).

    For a power of two, the slopes fall geometrically from 2^(-8/heads) to 2^-8. Other numbers of heads get the slopes
    of the next lower power of two, then every second slope of the next higher one.
    """
    below = 2 ** int(math.log2(heads))
    first = [2.0 ** (-8.0 * head / below) for head in range(1, below + 1)]
    between = [2.0 ** (-4.0 * head / below) for head in range(1, 2 * below + 1, 2)]
    return tuple(first + between[: heads - below])
