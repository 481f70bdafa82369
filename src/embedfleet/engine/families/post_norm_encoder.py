"""BERT's embeddings and layers, which most encoder families share under other tensor names."""

from dataclasses import dataclass, fields

from embedfleet.engine.families.ops import ACTIVATIONS, Activation, Attention, Ops, V
from embedfleet.engine.families.shared_layers import layer_norm, linear
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Embeddings:
    """BERT's embeddings: the sum of word, type and position embeddings, whose width may differ from the hidden size.

    Attributes:
        words: Number of rows of the word embeddings.
        types: Number of rows of the token type embeddings; 0 for none.
        positions: Number of rows of the position embeddings; 0 for none.
        width: Width of an embedding.
        epsilon: Epsilon of the normalisation.
    """

    words: int
    types: int
    positions: int
    width: int
    epsilon: float

    def table(self, weights: Weights) -> Tensor:
        """The word embeddings, [words, width]."""
        return weights.body("embeddings.word_embeddings.weight", self.words, self.width)

    def sum(self, ops: Ops[V], weights: Weights) -> V:
        """The summed embeddings before normalisation, [tokens, width]."""
        states = ops.embed(self.table(weights), ops.ids)
        if self.types:
            types = weights.body("embeddings.token_type_embeddings.weight", self.types, self.width)
            states = ops.add(states, ops.embed(types, ops.types))
        if self.positions:
            positions = weights.body("embeddings.position_embeddings.weight", self.positions, self.width)
            states = ops.add(states, ops.embed(positions, ops.positions))
        return states

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """The normalised embeddings, [tokens, width]."""
        name = "embeddings.LayerNorm"
        return layer_norm(ops, weights.body, name, self.sum(ops, weights), width=self.width, epsilon=self.epsilon)


@dataclass(frozen=True, slots=True)
class LayerNames:
    """Names of the dense layers and normalisations of a single layer.

    Attributes:
        query: Projection to queries.
        key: Projection to keys.
        value: Projection to values.
        attention_output: Dense layer after attention.
        attention_norm: Normalisation after attention.
        up: First dense layer of the feed-forward block.
        down: Second dense layer of the feed-forward block.
        feed_forward_norm: Normalisation after the feed-forward block.
    """

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    up: str
    down: str
    feed_forward_norm: str

    def under(self, prefix: str) -> "LayerNames":
        """The same names with a layer's prefix."""
        return LayerNames(*(prefix + getattr(self, field.name) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class PostNormEncoder:
    """Layers in BERT's order: attention and feed-forward block, each added to its input and then normalised.

    Attributes:
        names: Names of a layer's tensors.
        width: Hidden size.
        inner_width: Width between the two dense layers of the feed-forward block.
        activation: Activation of the feed-forward block.
        epsilon: Epsilon of the normalisations.
    """

    names: LayerNames
    width: int
    inner_width: int
    activation: Activation
    epsilon: float

    @classmethod
    def from_config(cls, config: ModelConfig, names: LayerNames) -> "PostNormEncoder":
        """Read the encoder from a config with BERT's keys.

        Raises:
            ModelError: A key is missing, or its value is not supported.
        """
        return cls(
            names,
            config.number("hidden_size"),
            config.number("intermediate_size"),
            config.choice("hidden_act", ACTIVATIONS, "gelu"),
            config.real("layer_norm_eps", 1e-12),
        )

    def layer(self, ops: Ops[V], weights: Weights, prefix: str, states: V, attention: Attention) -> V:
        """Run the layer whose tensor names begin with ``prefix``: [tokens, width] → [tokens, width]."""
        states = self.attend(ops, weights, prefix, states, attention)
        inner = ops.dense(states, linear(weights.body, prefix + self.names.up, self.width, self.inner_width))
        return self.feed_forward_end(ops, weights, prefix, states, ops.activate(inner, self.activation))

    def attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V, attention: Attention) -> V:
        """Run attention, add its input and normalise: [tokens, width] → [tokens, width]."""
        find, width, names = weights.body, self.width, self.names.under(prefix)
        query, key, value = (
            ops.dense(states, linear(find, name, width, width)) for name in (names.query, names.key, names.value)
        )
        mixed = ops.attention(query, key, value, attention)
        out = ops.dense(mixed, linear(find, names.attention_output, width, width))
        return self.norm(ops, weights, names.attention_norm, ops.add(out, states))

    def feed_forward_end(self, ops: Ops[V], weights: Weights, prefix: str, states: V, inner: V) -> V:
        """Finish the feed-forward block: second dense layer, add the block's input, normalise.

        Args:
            ops: Operations of the backend.
            weights: Weights of the model.
            prefix: Start of the layer's tensor names.
            states: Input of the block, [tokens, width].
            inner: Activated states between the dense layers, [tokens, inner_width].
        """
        names = self.names.under(prefix)
        outer = ops.dense(inner, linear(weights.body, names.down, self.inner_width, self.width))
        return self.norm(ops, weights, names.feed_forward_norm, ops.add(outer, states))

    def norm(self, ops: Ops[V], weights: Weights, name: str, states: V) -> V:
        """Apply the body's normalisation ``name``."""
        return layer_norm(ops, weights.body, name, states, width=self.width, epsilon=self.epsilon)

    def word_transform(self, ops: Ops[V], weights: Weights, dense: str, norm: str, states: V) -> V:
        """Run the layers before the decoder of BERT's masked-language head: dense layer, activation, normalisation.

        Args:
            ops: Operations of the backend.
            weights: Weights of the model.
            dense: Full name of the dense layer.
            norm: Full name of the normalisation.
            states: Last hidden states, [tokens, width].
        """
        states = ops.activate(ops.dense(states, linear(weights.head, dense, self.width, self.width)), self.activation)
        return layer_norm(ops, weights.head, norm, states, width=self.width, epsilon=self.epsilon)
