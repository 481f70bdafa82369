"""The layers of jina-embeddings-v2-base-code: JinaBERT's with queries and keys normalised, and one norm more."""

from dataclasses import dataclass, replace

from embedfleet.engine.families.layers import PostNorm, linear
from embedfleet.engine.families.ops import Activation, Attention, Ops, V
from embedfleet.engine.files.weights import Weights

MARK = "attention.self.layer_norm_q.weight"
"""A tensor of a layer that JinaBERT's others have not."""

_DOWN, _NORM = "mlp.down_layer", "layer_norm_2"


@dataclass(frozen=True, slots=True)
class JinaCode:
    """A layer of it.

    Attributes:
        encoder: of JinaBERT, for its sizes.
        gate: activates the gate of the feed-forward part.
    """

    encoder: PostNorm
    gate: Activation
    attention: Attention

    def layer(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        """States [tokens, width] after the layer whose tensors' names begin with ``prefix``.

        Its input is added twice: to what attention gives, and to that once it is normalised.
        """
        encoder = self.encoder
        mixed = encoder.norm(
            ops,
            weights,
            f"{prefix}attention.output.LayerNorm",
            ops.add(self._attend(ops, weights, prefix, states), states),
        )
        states = encoder.norm(ops, weights, f"{prefix}layer_norm_1", ops.add(mixed, states))
        both = linear(weights.body, f"{prefix}mlp.up_gated_layer", encoder.width, 2 * encoder.wide, bias=False)
        up, gated = ops.split(ops.dense(states, both), (encoder.wide, encoder.wide))
        inner = ops.multiply(up, ops.activate(gated, self.gate))
        end = replace(encoder, names=(*encoder.names[:6], _DOWN, _NORM))
        return end.feed(ops, weights, prefix, states, inner)

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        find, width, own = weights.body, self.encoder.width, f"{prefix}attention.self."
        query, key, value = (
            ops.dense(states, linear(find, own + name, width, width)) for name in ("query", "key", "value")
        )
        query = self.encoder.norm(ops, weights, f"{own}layer_norm_q", query)
        key = self.encoder.norm(ops, weights, f"{own}layer_norm_k", key)
        mixed = ops.attention(query, key, value, self.attention)
        return ops.dense(mixed, linear(find, f"{prefix}attention.output.dense", width, width))
