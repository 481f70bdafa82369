"""ELECTRA (Clark et al. 2020), generator and discriminator: BERT whose embeddings have a width of their own."""

from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.bert import BERT_NAMES
from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.families.post_norm_encoder import Embeddings, PostNormEncoder
from embedfleet.engine.families.shared_layers import layer_norm, linear, read_attention, word_decoder
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


class Electra(Family):
    """ELECTRA: both heads always use the exact GELU; the masked-language head is the generator's."""

    model_types: ClassVar[tuple[str, ...]] = ("electra",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        if config.flag("is_decoder", default=False):
            raise ModelError(f"{config.file}: `is_decoder` is true", "supported: ELECTRA with bidirectional attention")
        config.choice("position_embedding_type", {"absolute": True}, "absolute")
        self.hidden_size = config.number("hidden_size", 256)
        self.vocabulary = config.number("vocab_size")
        self.token_types = config.number("type_vocab_size", 2)
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings", 512)
        self._layers = config.number("num_hidden_layers", 12)
        self._attention = read_attention(config, "num_attention_heads", self.hidden_size)
        self._encoder = PostNormEncoder.from_config(config, BERT_NAMES)
        width = config.number("embedding_size", 128)
        self._embeddings = Embeddings(
            self.vocabulary, self.token_types, self.max_input_length, width, self._encoder.epsilon
        )

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        states = self._embeddings.states(ops, weights)
        if self._embeddings.width != self.hidden_size:
            states = ops.dense(
                states, linear(weights.body, "embeddings_project", self._embeddings.width, self.hidden_size)
            )
        for number in range(self._layers):
            states = self._encoder.layer(ops, weights, f"encoder.layer.{number}.", states, self._attention)
        return states

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        width, find = self.hidden_size, weights.head
        hidden = ops.activate(ops.dense(ops.first(states), linear(find, "classifier.dense", width, width)), "gelu")
        return ops.dense(hidden, linear(find, "classifier.out_proj", width, labels))

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        width, head, find = self._embeddings.width, "generator_predictions", weights.head
        states = ops.activate(ops.dense(states, linear(find, f"{head}.dense", self.hidden_size, width)), "gelu")
        states = layer_norm(ops, find, f"{head}.LayerNorm", states, width=width, epsilon=self._encoder.epsilon)
        words = self._embeddings.table(weights)
        return ops.dense(states, word_decoder(weights, "generator_lm_head", "generator_lm_head.bias", words))
