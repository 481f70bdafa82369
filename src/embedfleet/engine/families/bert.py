"""BERT (Devlin et al. 2018)."""

from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.families.post_norm_encoder import LayerNames, PostNormEncoder
from embedfleet.engine.families.shared_layers import read_attention
from embedfleet.engine.families.task_heads import bert_class_logits, bert_word_logits
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig

BERT_NAMES = LayerNames(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    feed_forward_norm="output.LayerNorm",
)


class Bert(Family):
    """BERT: learned positions and token types."""

    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        config.choice("position_embedding_type", {"absolute": True}, "absolute")
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = config.number("type_vocab_size")
        self.first_position = self._first_position(config)
        self._positions = config.number("max_position_embeddings")
        self.max_input_length = self._positions - self.first_position
        self._layers = config.number("num_hidden_layers")
        self._attention = read_attention(config, "num_attention_heads", self.hidden_size)
        self._encoder = PostNormEncoder.from_config(config, BERT_NAMES)

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        hidden, body, name = self.hidden_size, weights.body, "embeddings."
        words = ops.embed(self._words(weights), ops.ids)
        types = ops.embed(body(f"{name}token_type_embeddings.weight", self.token_types, hidden), ops.types)
        positions = ops.embed(body(f"{name}position_embeddings.weight", self._positions, hidden), ops.positions)
        states = self._encoder.norm(ops, weights, f"{name}LayerNorm", ops.add(ops.add(words, types), positions))
        for number in range(self._layers):
            states = self._encoder.layer(ops, weights, f"encoder.layer.{number}.", states, self._attention)
        return states

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        return bert_class_logits(ops, weights, states, self.hidden_size, labels)

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        return bert_word_logits(ops, weights, states, self._encoder, self._words(weights))

    def _first_position(self, config: ModelConfig) -> int:  # noqa: ARG002 - RoBERTa reads it from the config
        return 0

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)
