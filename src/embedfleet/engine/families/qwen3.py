"""Qwen3 (Yang et al. 2025), as Qwen3-Embedding uses it: a causal decoder without its word head."""

from typing import ClassVar

from embedfleet.engine.families.layers import linear
from embedfleet.engine.families.rotary import read_rotary
from embedfleet.engine.ops import ACTIVATIONS, Attention, Linear, Ops, V
from embedfleet.engine.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.folder.config import ModelConfig


class Qwen3:
    """See `Family`. Norms come first; queries and keys are normalised by head and turned by their place."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen3",)
    anchor: ClassVar[str] = "embed_tokens.weight"

    def __init__(self, config: ModelConfig) -> None:
        if config.flag("use_sliding_window", default=False):
            raise ModelError(f"{config.file}: `use_sliding_window` is true", "supported: Qwen3 with full attention")
        self._file = config.file
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = 1
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings")
        self._layers = config.number("num_hidden_layers")
        self._attention = _attention(config, self.hidden_size)
        self._rotary = read_rotary(config, self._attention.head_size, theta=10000.0)
        self._has_bias = config.flag("attention_bias", default=False)
        self._wide = config.number("intermediate_size")
        self._activation = config.choice("hidden_act", ACTIVATIONS, "silu")
        self._epsilon = config.real("rms_norm_eps", 1e-6)

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        states = ops.embed(weights.body(self.anchor, self.vocabulary, self.hidden_size), ops.ids)
        for number in range(self._layers):
            prefix = f"layers.{number}."
            normed = self._norm(ops, weights, f"{prefix}input_layernorm", states)
            states = ops.add(states, self._attend(ops, weights, f"{prefix}self_attn.", normed))
            normed = self._norm(ops, weights, f"{prefix}post_attention_layernorm", states)
            states = ops.add(states, self._feed(ops, weights, f"{prefix}mlp.", normed))
        return self._norm(ops, weights, "norm", states)

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`: one dense layer on each sequence's last token."""
        return ops.dense(ops.last(states), Linear(weights.head("score.weight", labels, self.hidden_size)))

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:  # noqa: ARG002 - the protocol's
        """See `Family.word_logits`: a causal model has no masked-language head."""
        raise ModelError(
            f"{self._file}: Qwen3 has no masked-language head, which splade pooling needs",
            'set pooling = "last-token"',
        )

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        shape, find, bias = self._attention, weights.body, self._has_bias
        wide, narrow = shape.heads * shape.head_size, shape.key_heads * shape.head_size
        query = ops.dense(states, linear(find, f"{prefix}q_proj", self.hidden_size, wide, bias=bias))
        key = ops.dense(states, linear(find, f"{prefix}k_proj", self.hidden_size, narrow, bias=bias))
        value = ops.dense(states, linear(find, f"{prefix}v_proj", self.hidden_size, narrow, bias=bias))
        query = ops.rms_norm(query, find(f"{prefix}q_norm.weight", shape.head_size), self._epsilon)
        key = ops.rms_norm(key, find(f"{prefix}k_norm.weight", shape.head_size), self._epsilon)
        mixed = ops.attention(ops.rotate(query, self._rotary), ops.rotate(key, self._rotary), value, shape)
        return ops.dense(mixed, linear(find, f"{prefix}o_proj", wide, self.hidden_size, bias=bias))

    def _feed(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        hidden, wide, find = self.hidden_size, self._wide, weights.body
        gate = ops.dense(states, linear(find, f"{prefix}gate_proj", hidden, wide, bias=False))
        up = ops.dense(states, linear(find, f"{prefix}up_proj", hidden, wide, bias=False))
        inner = ops.multiply(ops.activate(gate, self._activation), up)
        return ops.dense(inner, linear(find, f"{prefix}down_proj", wide, hidden, bias=False))

    def _norm(self, ops: Ops[V], weights: Weights, name: str, states: V) -> V:
        return ops.rms_norm(states, weights.body(f"{name}.weight", self.hidden_size), self._epsilon)


def _attention(config: ModelConfig, hidden: int) -> Attention:
    """Raises ModelError: the heads cannot be shared out."""
    heads = config.number("num_attention_heads")
    key_heads = config.number("num_key_value_heads", heads)
    if heads < 1 or key_heads < 1 or heads % key_heads:
        raise ModelError(f"{config.file}: {heads} `num_attention_heads` cannot share {key_heads} `num_key_value_heads`")
    return Attention(heads, config.number("head_dim", hidden // heads), key_heads, causal=True)
