"""Layers of jina-embeddings-v2-base-code: JinaBERT's layers with normalised queries and keys, and one more norm."""

from dataclasses import dataclass, replace

from embedfleet.engine.families.ops import Activation, Attention, Ops, V
from embedfleet.engine.families.post_norm_encoder import PostNormEncoder
from embedfleet.engine.families.shared_layers import linear
from embedfleet.engine.files.weights import Weights

MARK = "attention.self.layer_norm_q.weight"
"""Name of a layer's tensor that other JinaBERT models do not have."""


@dataclass(frozen=True, slots=True)
class JinaCodeLayer:
    """A layer of jina-embeddings-v2-base-code.

    Attributes:
        encoder: Encoder of JinaBERT, for its sizes and names.
        gate: Activation of the feed-forward gate.
        attention: Heads and ALiBi bias of the attention.
    """

    encoder: PostNormEncoder
    gate: Activation
    attention: Attention

    def run(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        """Run the layer whose tensor names begin with ``prefix``: [tokens, width] → [tokens, width].

        The layer's input is added twice: to the output of attention, and again after normalisation.
        """
        encoder = self.encoder
        mixed = encoder.norm(
            ops,
            weights,
            f"{prefix}attention.output.LayerNorm",
            ops.add(self._attend(ops, weights, prefix, states), states),
        )
        states = encoder.norm(ops, weights, f"{prefix}layer_norm_1", ops.add(mixed, states))
        width, inner_width = encoder.width, encoder.inner_width
        merged = linear(weights.body, f"{prefix}mlp.up_gated_layer", width, 2 * inner_width, bias=False)
        up, gate = ops.split(ops.dense(states, merged), (inner_width, inner_width))
        inner = ops.multiply(up, ops.activate(gate, self.gate))
        names = replace(encoder.names, down="mlp.down_layer", feed_forward_norm="layer_norm_2")
        return replace(encoder, names=names).feed_forward_end(ops, weights, prefix, states, inner)

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        find, width, own = weights.body, self.encoder.width, f"{prefix}attention.self."
        query, key, value = (
            ops.dense(states, linear(find, own + name, width, width)) for name in ("query", "key", "value")
        )
        query = self.encoder.norm(ops, weights, f"{own}layer_norm_q", query)
        key = self.encoder.norm(ops, weights, f"{own}layer_norm_k", key)
        mixed = ops.attention(query, key, value, self.attention)
        return ops.dense(mixed, linear(find, f"{prefix}attention.output.dense", width, width))
