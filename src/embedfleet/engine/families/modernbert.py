"""ModernBERT (Warner et al. 2024): pre-norm, gated feed-forward, rotary embeddings, mostly sliding-window attention."""

from dataclasses import replace
from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.attention_pattern import FULL, SLIDING, LayerAttention, read_layer_types
from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import ACTIVATIONS, Ops, V
from embedfleet.engine.families.rotary_config import read_rotary
from embedfleet.engine.families.shared_layers import linear, read_attention, word_decoder
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


class ModernBert(Family):
    """ModernBERT: no token types, no position embeddings."""

    model_types: ClassVar[tuple[str, ...]] = ("modernbert",)
    anchor: ClassVar[str] = "embeddings.tok_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = 1
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings")
        self._layers = _read_layers(config, self.hidden_size)
        self._inner_width = config.number("intermediate_size")
        self._activation = config.choice("hidden_activation", ACTIVATIONS, "gelu")
        self._head_activation = config.choice("classifier_activation", ACTIVATIONS, "gelu")
        self._pools_mean = config.choice("classifier_pooling", {"cls": False, "mean": True}, "cls")
        self._epsilon = config.real("norm_eps", 1e-5)
        keys = ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")
        self._attention_bias, self._mlp_bias, self._norm_bias, self._head_bias = (
            config.flag(key, default=False) for key in keys
        )
        if not config.flag("decoder_bias", default=True):
            raise ModelError(f"{config.file}: `decoder_bias` is false", "supported: ModernBERT with a decoder bias")

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        states = self._norm(ops, weights, "embeddings.norm", ops.embed(self._words(weights), ops.ids))
        for number, layer in enumerate(self._layers):
            prefix = f"layers.{number}."
            # The first layer has no norm before attention: the embeddings are already normalised.
            normed = self._norm(ops, weights, f"{prefix}attn_norm", states) if number else states
            states = ops.add(states, self._attend(ops, weights, f"{prefix}attn.", normed, layer))
            normed = self._norm(ops, weights, f"{prefix}mlp_norm", states)
            states = ops.add(states, self._feed_forward(ops, weights, f"{prefix}mlp.", normed))
        return self._norm(ops, weights, "final_norm", states)

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        pooled = self._transform(ops, weights, ops.mean(states) if self._pools_mean else ops.first(states))
        return ops.dense(pooled, linear(weights.head, "classifier", self.hidden_size, labels))

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        words = word_decoder(weights, "decoder", "decoder.bias", self._words(weights))
        return ops.dense(self._transform(ops, weights, states), words)

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V, layer: LayerAttention) -> V:
        hidden, bias = self.hidden_size, self._attention_bias
        merged = ops.dense(states, linear(weights.body, f"{prefix}Wqkv", hidden, 3 * hidden, bias=bias))
        query, key, value = ops.split(merged, (hidden, hidden, hidden))
        query, key = ops.rotate(query, layer.rotary), ops.rotate(key, layer.rotary)
        mixed = ops.attention(query, key, value, layer.attention)
        return ops.dense(mixed, linear(weights.body, f"{prefix}Wo", hidden, hidden, bias=bias))

    def _feed_forward(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        hidden, inner_width, bias = self.hidden_size, self._inner_width, self._mlp_bias
        merged = ops.dense(states, linear(weights.body, f"{prefix}Wi", hidden, 2 * inner_width, bias=bias))
        inner, gate = ops.split(merged, (inner_width, inner_width))
        inner = ops.multiply(ops.activate(inner, self._activation), gate)
        return ops.dense(inner, linear(weights.body, f"{prefix}Wo", inner_width, hidden, bias=bias))

    def _norm(self, ops: Ops[V], weights: Weights, name: str, states: V) -> V:
        shift = weights.body(f"{name}.bias", self.hidden_size) if self._norm_bias else None
        return ops.layer_norm(states, weights.body(f"{name}.weight", self.hidden_size), shift, self._epsilon)

    def _transform(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """The layers that the classification head and the masked-language head share."""
        hidden, find = self.hidden_size, weights.head
        dense = linear(find, "head.dense", hidden, hidden, bias=self._head_bias)
        inner = ops.activate(ops.dense(states, dense), self._head_activation)
        shift = find("head.norm.bias", hidden) if self._norm_bias else None
        return ops.layer_norm(inner, find("head.norm.weight", hidden), shift, self._epsilon)

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)


def _read_layers(config: ModelConfig, hidden: int) -> list[LayerAttention]:
    """Read each layer's attention. Newer configs state every layer's type, older ones the period of full attention.

    Raises:
        ModelError: A layer type is unknown, or there are not as many types as layers.
    """
    attention = read_attention(config, "num_attention_heads", hidden)
    sliding = replace(attention, window=config.number("local_attention", 128) // 2)
    size = attention.head_size
    full = read_rotary(config, size, theta=160000.0, key="global_rope_theta", layer_type=FULL)
    local = read_rotary(config, size, theta=10000.0, key="local_rope_theta", layer_type=SLIDING)
    layers = {FULL: LayerAttention(attention, full), SLIDING: LayerAttention(sliding, local)}
    count, every = config.number("num_hidden_layers"), max(1, config.number("global_attn_every_n_layers", 3))
    types = read_layer_types(config, count, [SLIDING if number % every else FULL for number in range(count)])
    return [layers[kind] for kind in types]
