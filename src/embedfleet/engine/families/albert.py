"""ALBERT (Lan et al. 2020): BERT with narrow embeddings, whose layers share their weights."""

from typing import ClassVar

from embedfleet.engine.families.layers import Embeddings, PostNorm, decoder, heads_of, layer_norm, linear
from embedfleet.engine.families.ops import ACTIVATIONS, Ops, V
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.dense",
    "attention.LayerNorm",
    "ffn",
    "ffn_output",
    "full_layer_layer_norm",
)


class Albert:
    """See `Family`. Layers that follow each other are of one group, and a group may hold several layers in itself."""

    model_types: ClassVar[tuple[str, ...]] = ("albert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    def __init__(self, config: ModelConfig) -> None:
        config.choice("position_embedding_type", {"absolute": True}, "absolute")
        self.hidden_size = config.number("hidden_size", 4096)
        self.vocabulary = config.number("vocab_size")
        self.token_types = config.number("type_vocab_size", 2)
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings", 512)
        self._layers = config.number("num_hidden_layers", 12)
        self._groups = config.number("num_hidden_groups", 1)
        if not 1 <= self._groups <= max(1, self._layers):
            raise ModelError(
                f"{config.file}: `num_hidden_groups` is {self._groups}, of {self._layers} layers",
                "supported: from 1 to `num_hidden_layers`",
            )
        self._inner = config.number("inner_group_num", 1)
        self._attention = heads_of(config, "num_attention_heads", self.hidden_size)
        self._encoder = PostNorm(
            _NAMES,
            self.hidden_size,
            config.number("intermediate_size", 16384),
            config.choice("hidden_act", ACTIVATIONS, "gelu_new"),
            config.real("layer_norm_eps", 1e-12),
        )
        width = config.number("embedding_size", 128)
        self._embeddings = Embeddings(
            self.vocabulary, self.token_types, self.max_input_length, width, self._encoder.epsilon
        )

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        mapping = linear(weights.body, "encoder.embedding_hidden_mapping_in", self._embeddings.width, self.hidden_size)
        states = ops.dense(self._embeddings.states(ops, weights), mapping)
        for number in range(self._layers):
            group = int(number / (self._layers / self._groups))  # as the reference rounds, where it is no whole number
            for inner in range(self._inner):
                prefix = f"encoder.albert_layer_groups.{group}.albert_layers.{inner}."
                states = self._encoder.layer(ops, weights, prefix, states, self._attention)
        return states

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`: BERT's, but for the pooler's name."""
        width = self.hidden_size
        pooled = ops.activate(ops.dense(ops.first(states), linear(weights.body, "pooler", width, width)), "tanh")
        return ops.dense(pooled, linear(weights.head, "classifier", width, labels))

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`."""
        width, find, encoder = self._embeddings.width, weights.head, self._encoder
        states = ops.dense(states, linear(find, "predictions.dense", self.hidden_size, width))
        states = ops.activate(states, encoder.activation)
        states = layer_norm(ops, find, "predictions.LayerNorm", states, width=width, epsilon=encoder.epsilon)
        words = self._embeddings.table(weights)
        return ops.dense(states, decoder(weights, "predictions.decoder", "predictions.bias", words))
