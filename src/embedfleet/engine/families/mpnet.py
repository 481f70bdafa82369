"""MPNet (Song et al. 2020): BERT's layers with a learnt bias by distance, one for all of them."""

from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.layers import PostNorm, heads_of, roberta_classes, roberta_words
from embedfleet.engine.families.ops import Ops, RelativeBias, V
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = (
    "attention.attn.q",
    "attention.attn.k",
    "attention.attn.v",
    "attention.attn.o",
    "attention.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
# Both stand in the reference's code and not in its config (transformers, modeling_mpnet.py).
_PADDING = 1
_BUCKETS = 32


class MpNet:
    """See `Family`. There are no token types; learnt positions begin after the padding id."""

    model_types: ClassVar[tuple[str, ...]] = ("mpnet",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

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
        self._attention = heads_of(config, "num_attention_heads", self.hidden_size)
        self._encoder = PostNorm.of(config, _NAMES)

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        words = ops.embed(self._words(weights), ops.ids)
        places = weights.body("embeddings.position_embeddings.weight", self._positions, self.hidden_size)
        states = ops.add(words, ops.embed(places, ops.positions))
        states = self._encoder.norm(ops, weights, "embeddings.LayerNorm", states)
        by_distance = weights.body("encoder.relative_attention_bias.weight", _BUCKETS, self._attention.heads)
        attention = replace(self._attention, bias=RelativeBias(by_distance, _BUCKETS))
        for number in range(self._layers):
            states = self._encoder.layer(ops, weights, f"encoder.layer.{number}.", states, attention)
        return states

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`."""
        return roberta_classes(ops, weights, states, self.hidden_size, labels)

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`."""
        return roberta_words(ops, weights, states, self._words(weights), self._encoder.epsilon)

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)
