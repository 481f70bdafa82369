"""MPNet (Song et al. 2020): BERT's layers with one learned relative position bias for all layers."""

from dataclasses import replace
from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import Ops, RelativeBias, V
from embedfleet.engine.families.post_norm_encoder import LayerNames, PostNormEncoder
from embedfleet.engine.families.shared_layers import read_attention
from embedfleet.engine.families.task_heads import roberta_class_logits, roberta_word_logits
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = LayerNames(
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    feed_forward_norm="output.LayerNorm",
)
# Constants of the reference's code, not keys of its config (transformers, modeling_mpnet.py).
_PADDING = 1
_BUCKETS = 32


class MpNet(Family):
    """MPNet: no token types; learned positions start after the padding id."""

    model_types: ClassVar[tuple[str, ...]] = ("mpnet",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        buckets = config.number("relative_attention_num_buckets", _BUCKETS)
        if buckets != _BUCKETS:
            raise ModelError(
                f"{config.file}: `relative_attention_num_buckets` is {buckets}", f"MPNet is defined for {_BUCKETS}"
            )
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = 1
        self.first_position = _PADDING + 1
        self._positions = config.number("max_position_embeddings")
        self.max_input_length = self._positions - self.first_position
        self._layers = config.number("num_hidden_layers")
        self._attention = read_attention(config, "num_attention_heads", self.hidden_size)
        self._encoder = PostNormEncoder.from_config(config, _NAMES)

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        words = ops.embed(self._words(weights), ops.ids)
        positions = weights.body("embeddings.position_embeddings.weight", self._positions, self.hidden_size)
        states = ops.add(words, ops.embed(positions, ops.positions))
        states = self._encoder.norm(ops, weights, "embeddings.LayerNorm", states)
        bias = weights.body("encoder.relative_attention_bias.weight", _BUCKETS, self._attention.heads)
        attention = replace(self._attention, bias=RelativeBias(bias, _BUCKETS))
        for number in range(self._layers):
            states = self._encoder.layer(ops, weights, f"encoder.layer.{number}.", states, attention)
        return states

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        return roberta_class_logits(ops, weights, states, self.hidden_size, labels)

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        return roberta_word_logits(ops, weights, states, self._words(weights), self._encoder.epsilon)

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)
