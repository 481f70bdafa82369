"""ModernBERT (Warner et al. 2024): norms first, gated feed-forward, rotary places, most layers looking nearby only."""

from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.layers import decoder, heads_of, linear
from embedfleet.engine.families.ops import ACTIVATIONS, Ops, V
from embedfleet.engine.families.rotary import read_rotary
from embedfleet.engine.families.sight import FULL, LOCAL, Sight, read_kinds
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


class ModernBert:
    """See `Family`. There are no token types and no table of positions."""

    model_types: ClassVar[tuple[str, ...]] = ("modernbert",)
    anchor: ClassVar[str] = "embeddings.tok_embeddings.weight"

    def __init__(self, config: ModelConfig) -> None:
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = 1
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings")
        self._layers = _sights(config, self.hidden_size)
        self._wide = config.number("intermediate_size")
        self._activation = config.choice("hidden_activation", ACTIVATIONS, "gelu")
        self._head_activation = config.choice("classifier_activation", ACTIVATIONS, "gelu")
        self._takes_mean = config.choice("classifier_pooling", {"cls": False, "mean": True}, "cls")
        self._epsilon = config.real("norm_eps", 1e-5)
        keys = ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")
        self._attention_bias, self._mlp_bias, self._norm_bias, self._head_bias = (
            config.flag(key, default=False) for key in keys
        )
        if not config.flag("decoder_bias", default=True):
            raise ModelError(f"{config.file}: `decoder_bias` is false", "supported: ModernBERT with a decoder bias")

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`. The first layer's attention takes the embeddings as their own norm left them."""
        states = self._norm(ops, weights, "embeddings.norm", ops.embed(self._words(weights), ops.ids))
        for number, sight in enumerate(self._layers):
            prefix = f"layers.{number}."
            normed = self._norm(ops, weights, f"{prefix}attn_norm", states) if number else states
            states = ops.add(states, self._attend(ops, weights, f"{prefix}attn.", normed, sight))
            normed = self._norm(ops, weights, f"{prefix}mlp_norm", states)
            states = ops.add(states, self._feed(ops, weights, f"{prefix}mlp.", normed))
        return self._norm(ops, weights, "final_norm", states)

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`: of the first token or the mean, as the config says."""
        pooled = self._transform(ops, weights, ops.mean(states) if self._takes_mean else ops.first(states))
        return ops.dense(pooled, linear(weights.head, "classifier", self.hidden_size, labels))

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`."""
        words = decoder(weights, "decoder", "decoder.bias", self._words(weights))
        return ops.dense(self._transform(ops, weights, states), words)

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V, sight: Sight) -> V:
        hidden, bias = self.hidden_size, self._attention_bias
        merged = ops.dense(states, linear(weights.body, f"{prefix}Wqkv", hidden, 3 * hidden, bias=bias))
        query, key, value = ops.split(merged, (hidden, hidden, hidden))
        query, key = ops.rotate(query, sight.rotary), ops.rotate(key, sight.rotary)
        mixed = ops.attention(query, key, value, sight.attention)
        return ops.dense(mixed, linear(weights.body, f"{prefix}Wo", hidden, hidden, bias=bias))

    def _feed(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        hidden, wide, bias = self.hidden_size, self._wide, self._mlp_bias
        merged = ops.dense(states, linear(weights.body, f"{prefix}Wi", hidden, 2 * wide, bias=bias))
        inner, gate = ops.split(merged, (wide, wide))
        inner = ops.multiply(ops.activate(inner, self._activation), gate)
        return ops.dense(inner, linear(weights.body, f"{prefix}Wo", wide, hidden, bias=bias))

    def _norm(self, ops: Ops[V], weights: Weights, name: str, states: V) -> V:
        shift = weights.body(f"{name}.bias", self.hidden_size) if self._norm_bias else None
        return ops.layer_norm(states, weights.body(f"{name}.weight", self.hidden_size), shift, self._epsilon)

    def _transform(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """The prediction head, which classifier and decoder share."""
        hidden, find = self.hidden_size, weights.head
        dense = linear(find, "head.dense", hidden, hidden, bias=self._head_bias)
        inner = ops.activate(ops.dense(states, dense), self._head_activation)
        shift = find("head.norm.bias", hidden) if self._norm_bias else None
        return ops.layer_norm(inner, find("head.norm.weight", hidden), shift, self._epsilon)

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)


def _sights(config: ModelConfig, hidden: int) -> list[Sight]:
    """Of each layer. Newer configs name every layer's kind, older ones say that each so-many-th sees everything.

    Raises:
        ModelError: a layer is of a kind that is not known, or there are not as many as layers.
    """
    attention = heads_of(config, "num_attention_heads", hidden)
    nearby = replace(attention, window=config.number("local_attention", 128) // 2)
    size = attention.head_size
    full = read_rotary(config, size, theta=160000.0, key="global_rope_theta", layers=FULL)
    local = read_rotary(config, size, theta=10000.0, key="local_rope_theta", layers=LOCAL)
    sights = {FULL: Sight(attention, full), LOCAL: Sight(nearby, local)}
    count, every = config.number("num_hidden_layers"), max(1, config.number("global_attn_every_n_layers", 3))
    kinds = read_kinds(config, count, [LOCAL if number % every else FULL for number in range(count)])
    return [sights[kind] for kind in kinds]
