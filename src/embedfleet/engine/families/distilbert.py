"""DistilBERT (Sanh et al. 2019): BERT's layers under other names, without token types."""

from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import ACTIVATIONS, Ops, V
from embedfleet.engine.families.post_norm_encoder import LayerNames, PostNormEncoder
from embedfleet.engine.families.shared_layers import linear, read_attention, word_decoder
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = LayerNames(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    feed_forward_norm="output_layer_norm",
)
_EPSILON = 1e-12  # a constant of the reference's code, not a key of its config (transformers, modeling_distilbert.py)
_OTHER_NAMES = {"dim": "hidden_size", "n_heads": "num_attention_heads", "n_layers": "num_hidden_layers"}


class DistilBert(Family):
    """DistilBERT: learned positions, no token types."""

    model_types: ClassVar[tuple[str, ...]] = ("distilbert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        _refuse_contradictions(config)
        self.hidden_size = config.number("dim")
        self.vocabulary = config.number("vocab_size")
        self.token_types = 1
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings")
        self._layers = config.number("n_layers")
        self._attention = read_attention(config, "n_heads", self.hidden_size)
        activation = config.choice("activation", ACTIVATIONS, "gelu")
        self._encoder = PostNormEncoder(_NAMES, self.hidden_size, config.number("hidden_dim"), activation, _EPSILON)

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        words = ops.embed(self._words(weights), ops.ids)
        table = weights.body("embeddings.position_embeddings.weight", self.max_input_length, self.hidden_size)
        states = ops.add(words, ops.embed(table, ops.positions))
        states = self._encoder.norm(ops, weights, "embeddings.LayerNorm", states)
        for number in range(self._layers):
            states = self._encoder.layer(ops, weights, f"transformer.layer.{number}.", states, self._attention)
        return states

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        hidden = self.hidden_size
        first = ops.dense(ops.first(states), linear(weights.head, "pre_classifier", hidden, hidden))
        return ops.dense(ops.activate(first, "relu"), linear(weights.head, "classifier", hidden, labels))

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        states = self._encoder.word_transform(ops, weights, "vocab_transform", "vocab_layer_norm", states)
        return ops.dense(states, word_decoder(weights, "vocab_projector", "vocab_projector.bias", self._words(weights)))

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)


def _refuse_contradictions(config: ModelConfig) -> None:
    """Refuse a size that is stated under two names with two values; transformers would take the general name's.

    Raises:
        ModelError: A size has two values.
    """
    for own, other in _OTHER_NAMES.items():
        if other in config.values and config.values[other] != config.values.get(own):
            raise ModelError(
                f"{config.file}: `{own}` is {config.values.get(own)!r}, `{other}` is {config.values[other]!r}",
                f"state one size, as `{own}`",
            )
