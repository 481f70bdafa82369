"""ALBERT (Lan et al. 2020): BERT with narrow embeddings and layers that share their weights."""

from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import ACTIVATIONS, Ops, V
from embedfleet.engine.families.post_norm_encoder import Embeddings, LayerNames, PostNormEncoder
from embedfleet.engine.families.shared_layers import layer_norm, linear, read_attention, word_decoder
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = LayerNames(
    query="attention.query",
    key="attention.key",
    value="attention.value",
    attention_output="attention.dense",
    attention_norm="attention.LayerNorm",
    up="ffn",
    down="ffn_output",
    feed_forward_norm="full_layer_layer_norm",
)


class Albert(Family):
    """ALBERT: consecutive layers form a group with common weights; a group may hold several inner layers."""

    model_types: ClassVar[tuple[str, ...]] = ("albert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
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
                f"{config.file}: `num_hidden_groups` is {self._groups}, `num_hidden_layers` is {self._layers}",
                "supported: from 1 to `num_hidden_layers`",
            )
        self._inner_layers = config.number("inner_group_num", 1)
        self._attention = read_attention(config, "num_attention_heads", self.hidden_size)
        self._encoder = PostNormEncoder(
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

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        mapping = linear(weights.body, "encoder.embedding_hidden_mapping_in", self._embeddings.width, self.hidden_size)
        states = ops.dense(self._embeddings.states(ops, weights), mapping)
        for number in range(self._layers):
            group = int(number / (self._layers / self._groups))  # rounded as the reference does
            for inner in range(self._inner_layers):
                prefix = f"encoder.albert_layer_groups.{group}.albert_layers.{inner}."
                states = self._encoder.layer(ops, weights, prefix, states, self._attention)
        return states

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        width = self.hidden_size
        pooled = ops.activate(ops.dense(ops.first(states), linear(weights.body, "pooler", width, width)), "tanh")
        return ops.dense(pooled, linear(weights.head, "classifier", width, labels))

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        width, find, encoder = self._embeddings.width, weights.head, self._encoder
        states = ops.dense(states, linear(find, "predictions.dense", self.hidden_size, width))
        states = ops.activate(states, encoder.activation)
        states = layer_norm(ops, find, "predictions.LayerNorm", states, width=width, epsilon=encoder.epsilon)
        words = self._embeddings.table(weights)
        return ops.dense(states, word_decoder(weights, "predictions.decoder", "predictions.bias", words))
