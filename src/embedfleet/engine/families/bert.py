"""BERT (Devlin et al. 2018)."""

from typing import ClassVar

from embedfleet.engine.families.layers import PostNorm, bert_words, heads_of, pooled_classes
from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig

NAMES = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
"""Of a layer's tensors, in the order of `PostNorm`."""


class Bert:
    """See `Family`. Positions and token types are learnt."""

    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    def __init__(self, config: ModelConfig) -> None:
        config.choice("position_embedding_type", {"absolute": True}, "absolute")
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = config.number("type_vocab_size")
        self.first_position = self._first_position(config)
        self._positions = config.number("max_position_embeddings")
        self.max_input_length = self._positions - self.first_position
        self._layers = config.number("num_hidden_layers")
        self._attention = heads_of(config, "num_attention_heads", self.hidden_size)
        self._encoder = PostNorm.of(config, NAMES)

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        hidden, body, name = self.hidden_size, weights.body, "embeddings."
        words = ops.embed(self._words(weights), ops.ids)
        types = ops.embed(body(f"{name}token_type_embeddings.weight", self.token_types, hidden), ops.types)
        places = ops.embed(body(f"{name}position_embeddings.weight", self._positions, hidden), ops.positions)
        states = self._encoder.norm(ops, weights, f"{name}LayerNorm", ops.add(ops.add(words, types), places))
        for number in range(self._layers):
            states = self._encoder.layer(ops, weights, f"encoder.layer.{number}.", states, self._attention)
        return states

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`."""
        return pooled_classes(ops, weights, states, self.hidden_size, labels)

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`."""
        return bert_words(ops, weights, states, self._encoder, self._words(weights))

    def _first_position(self, config: ModelConfig) -> int:  # noqa: ARG002 - RoBERTa's kin read it from there
        return 0

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)
