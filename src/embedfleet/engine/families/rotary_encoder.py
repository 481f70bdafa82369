"""Encoder body that GTE and Nomic-BERT share: post-norm, rotary embeddings, usually a gated feed-forward block."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedfleet.engine.families.mixture_of_experts import MixtureOfExperts
from embedfleet.engine.families.ops import Activation, Attention, Ops, Rotary, V
from embedfleet.engine.families.shared_layers import Find, layer_norm, linear
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights


@dataclass(frozen=True, slots=True)
class TensorNames:
    """Names of the dense layers and normalisations in a checkpoint.

    Attributes:
        embeddings_norm: Normalisation of the embeddings.
        layer: Prefix of a layer's tensors, with ``{}`` for its number.
        qkv: Projection to queries, keys and values, concatenated in this order.
        attention_output: Dense layer after attention.
        attention_norm: Normalisation after attention.
        up_gate: Up and gate projections, as two layers or as one that joins them; the gate is activated. A block
            without a gate has one layer, which is activated.
        down: Last dense layer of the feed-forward block.
        feed_forward_norm: Normalisation after the feed-forward block.
    """

    embeddings_norm: str
    layer: str
    qkv: str
    attention_output: str
    attention_norm: str
    up_gate: tuple[str, ...]
    down: str
    feed_forward_norm: str


@dataclass(frozen=True, slots=True)
class RotaryEncoder:
    """Encoder with rotary embeddings, whose blocks are each added to their input and then normalised.

    Attributes:
        names: Names of the tensors.
        layers: Number of layers.
        token_types: Number of rows of the token type embeddings; 0 for none.
        width: Hidden size.
        inner_width: Width within the feed-forward block.
        attention: Heads of the attention.
        rotary: Rotary embedding of queries and keys.
        activation: Activation of the feed-forward block.
        epsilon: Epsilon of the normalisations.
        has_attention_bias: Whether the dense layers around attention have biases.
        has_down_bias: Whether the last dense layer of the feed-forward block has a bias.
        has_up_bias: Whether the first dense layers of the feed-forward block have biases.
        is_gated: Whether the feed-forward block is gated.
        experts: Experts that replace the feed-forward block in some layers; None for none.
    """

    names: TensorNames
    layers: int
    token_types: int
    width: int
    inner_width: int
    attention: Attention
    rotary: Rotary
    activation: Activation
    epsilon: float
    has_attention_bias: bool
    has_down_bias: bool
    has_up_bias: bool = False
    is_gated: bool = True
    experts: MixtureOfExperts | None = None

    def states(self, ops: Ops[V], weights: Weights, words: Tensor) -> V:
        """Compute the last hidden states, [tokens, width].

        Args:
            ops: Operations of the backend.
            weights: Weights of the model.
            words: Word embeddings, [vocabulary, width].
        """
        states = ops.embed(words, ops.ids)
        if self.token_types:
            types = weights.body("embeddings.token_type_embeddings.weight", self.token_types, self.width)
            states = ops.add(states, ops.embed(types, ops.types))
        states = self._norm(ops, weights, self.names.embeddings_norm, states)
        for number in range(self.layers):
            states = self._layer(ops, weights, number, states)
        return states

    def _layer(self, ops: Ops[V], weights: Weights, number: int, states: V) -> V:
        names, width, find = self.names, self.width, weights.body
        prefix = names.layer.format(number)
        merged = ops.dense(states, linear(find, prefix + names.qkv, width, 3 * width, bias=self.has_attention_bias))
        query, key, value = ops.split(merged, (width, width, width))
        query, key = ops.rotate(query, self.rotary), ops.rotate(key, self.rotary)
        mixed = ops.attention(query, key, value, self.attention)
        output = linear(find, prefix + names.attention_output, width, width, bias=self.has_attention_bias)
        states = self._norm(ops, weights, prefix + names.attention_norm, ops.add(ops.dense(mixed, output), states))
        if self.experts is not None and self.experts.are_in(number):
            outer = self.experts.states(ops, weights, prefix, states)
        else:
            inner = self._inner(ops, find, [prefix + name for name in names.up_gate], states)
            down = linear(find, prefix + names.down, self.inner_width, width, bias=self.has_down_bias)
            outer = ops.dense(inner, down)
        return self._norm(ops, weights, prefix + names.feed_forward_norm, ops.add(outer, states))

    def _norm(self, ops: Ops[V], weights: Weights, name: str, states: V) -> V:
        return layer_norm(ops, weights.body, name, states, width=self.width, epsilon=self.epsilon)

    def _inner(self, ops: Ops[V], find: Find, names: Sequence[str], states: V) -> V:
        """Input of the feed-forward block's last dense layer, [tokens, inner_width]."""
        if not self.is_gated:
            hidden = ops.dense(states, linear(find, names[0], self.width, self.inner_width, bias=self.has_up_bias))
            return ops.activate(hidden, self.activation)
        up, gate = self._up_gate(ops, find, names, states)
        return ops.multiply(ops.activate(gate, self.activation), up)

    def _up_gate(self, ops: Ops[V], find: Find, names: Sequence[str], states: V) -> Sequence[V]:
        width, inner, bias = self.width, self.inner_width, self.has_up_bias
        if len(names) == 1:
            return ops.split(ops.dense(states, linear(find, names[0], width, 2 * inner, bias=bias)), (inner, inner))
        return [ops.dense(states, linear(find, name, width, inner, bias=bias)) for name in names]
