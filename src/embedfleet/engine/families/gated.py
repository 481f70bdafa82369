"""The body that GTE and Nomic-BERT share: BERT's order of norms, rotary places, most often gated."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedfleet.engine.families.experts import Experts
from embedfleet.engine.families.layers import Find, layer_norm, linear
from embedfleet.engine.families.ops import Activation, Attention, Ops, Rotary, V
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights


@dataclass(frozen=True, slots=True)
class Names:
    """What a layout of the weights calls the dense layers and norms of one layer.

    Attributes:
        words_norm: of the embeddings.
        layer: what stands before them, with ``{}`` for the layer's number.
        merged: makes queries, keys and values, in this order.
        up_gate: the two that are multiplied, or one layer that holds both; the second is activated. Of a feed-forward
            part without a gate it is the one layer that is activated.
    """

    words_norm: str
    layer: str
    merged: str
    mixed: str
    mixed_norm: str
    up_gate: tuple[str, ...]
    down: str
    down_norm: str


@dataclass(frozen=True, slots=True)
class GatedPostNorm:
    """Embeddings, and layers whose two parts are each added to their input and then normalised.

    Attributes:
        names: of its layers.
        layers: how many there are.
        token_types: rows of their table; 0 where there is none.
        width: of a token's state.
        wide: of the feed-forward part.
        attention_bias: whether the dense layers around the attention have a bias.
        up_bias: whether those at the begin of the feed-forward part have one.
        down_bias: whether the last one has one.
        is_gated: whether the feed-forward part is.
        experts: instead of it, in the layers that have them.
    """

    names: Names
    layers: int
    token_types: int
    width: int
    wide: int
    attention: Attention
    rotary: Rotary
    activation: Activation
    epsilon: float
    attention_bias: bool
    down_bias: bool
    up_bias: bool = False
    is_gated: bool = True
    experts: Experts | None = None

    def states(self, ops: Ops[V], weights: Weights, words: Tensor) -> V:
        """The whole pass, from the table of ``words`` [vocabulary, width] to the last states [tokens, width]."""
        states = ops.embed(words, ops.ids)
        if self.token_types:
            types = weights.body("embeddings.token_type_embeddings.weight", self.token_types, self.width)
            states = ops.add(states, ops.embed(types, ops.types))
        states = self._norm(ops, weights, self.names.words_norm, states)
        for number in range(self.layers):
            states = self._layer(ops, weights, number, states)
        return states

    def _layer(self, ops: Ops[V], weights: Weights, number: int, states: V) -> V:
        names, width, find = self.names, self.width, weights.body
        prefix = names.layer.format(number)
        merged = ops.dense(states, linear(find, prefix + names.merged, width, 3 * width, bias=self.attention_bias))
        query, key, value = ops.split(merged, (width, width, width))
        query, key = ops.rotate(query, self.rotary), ops.rotate(key, self.rotary)
        mixed = ops.attention(query, key, value, self.attention)
        mixed = ops.dense(mixed, linear(find, prefix + names.mixed, width, width, bias=self.attention_bias))
        states = self._norm(ops, weights, prefix + names.mixed_norm, ops.add(mixed, states))
        if self.experts is not None and self.experts.are_in(number):
            outer = self.experts.states(ops, weights, prefix, states)
        else:
            inner = self._inner(ops, find, [prefix + name for name in names.up_gate], states)
            outer = ops.dense(inner, linear(find, prefix + names.down, self.wide, width, bias=self.down_bias))
        return self._norm(ops, weights, prefix + names.down_norm, ops.add(outer, states))

    def _norm(self, ops: Ops[V], weights: Weights, name: str, states: V) -> V:
        return layer_norm(ops, weights.body, name, states, width=self.width, epsilon=self.epsilon)

    def _inner(self, ops: Ops[V], find: Find, names: Sequence[str], states: V) -> V:
        """What goes into the last dense layer, [tokens, wide]."""
        if not self.is_gated:
            hidden = ops.dense(states, linear(find, names[0], self.width, self.wide, bias=self.up_bias))
            return ops.activate(hidden, self.activation)
        up, gate = self._up_gate(ops, find, names, states)
        return ops.multiply(ops.activate(gate, self.activation), up)

    def _up_gate(self, ops: Ops[V], find: Find, names: Sequence[str], states: V) -> Sequence[V]:
        if len(names) == 1:
            merged = ops.dense(states, linear(find, names[0], self.width, 2 * self.wide, bias=self.up_bias))
            return ops.split(merged, (self.wide, self.wide))
        return [ops.dense(states, linear(find, name, self.width, self.wide, bias=self.up_bias)) for name in names]
