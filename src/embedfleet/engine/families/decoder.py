"""Body that Llama, Mistral, Qwen and Gemma share: pre-norm, rotary embeddings, grouped keys, gated feed-forward."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.attention_pattern import LayerAttention
from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import ACTIVATIONS, Activation, Attention, Linear, Ops, V
from embedfleet.engine.families.shared_layers import linear
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Differences between the families that share this body.

    Attributes:
        layers: Attention of each layer.
        activation: Activation of the feed-forward gate.
        has_qkv_bias: Whether the projections to queries, keys and values have biases.
        has_output_bias: Whether the dense layer after attention has a bias.
        has_feed_forward_bias: Whether the three dense layers of the feed-forward block have biases.
        has_head_norms: Whether queries and keys are normalised per head.
        has_post_norms: Whether the output of each block is normalised before it is added.
        scale_offset: Number that is added to the stored scales of the norms.
        embedding_scale: Factor of the word embeddings.
        query_scale: Factor of the queries, in addition to the division by the square root of the head size.
    """

    layers: Sequence[LayerAttention]
    activation: Activation
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    has_feed_forward_bias: bool = False
    has_head_norms: bool = False
    has_post_norms: bool = False
    scale_offset: float = 0.0
    embedding_scale: float = 1.0
    query_scale: float = 1.0


class Decoder(Family):
    """Base of the decoder families; a family reads its `DecoderShape`, and may override the head.

    Args:
        config: Config of the model.
        shape: Shape that the family read from the config.
        positions: Number of positions if the config states none.
    """

    anchor: ClassVar[str] = "embed_tokens.weight"

    def __init__(self, config: ModelConfig, shape: DecoderShape, *, positions: int) -> None:
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = 1
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings", positions)
        self._file = config.file
        self._shape = shape
        self._inner_width = config.number("intermediate_size")
        self._epsilon = config.real("rms_norm_eps", 1e-6)
        self._pad = None if config.values.get("pad_token_id") is None else config.number("pad_token_id")

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        shape, norm = self._shape, self._norm
        states = ops.embed(weights.body(self.anchor, self.vocabulary, self.hidden_size), ops.ids)
        if shape.embedding_scale != 1.0:
            states = ops.scale(states, shape.embedding_scale)
        for number, layer in enumerate(shape.layers):
            prefix = f"layers.{number}."
            normed = norm(ops, weights, f"{prefix}input_layernorm", states)
            mixed = self._attend(ops, weights, f"{prefix}self_attn.", normed, layer)
            before = "post_attention_layernorm"
            if shape.has_post_norms:
                mixed, before = norm(ops, weights, f"{prefix}{before}", mixed), "pre_feedforward_layernorm"
            states = ops.add(states, mixed)
            outer = self._feed_forward(ops, weights, f"{prefix}mlp.", norm(ops, weights, f"{prefix}{before}", states))
            if shape.has_post_norms:
                outer = norm(ops, weights, f"{prefix}post_feedforward_layernorm", outer)
            states = ops.add(states, outer)
        return norm(ops, weights, "norm", states)

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        return self._score(ops, weights, ops.last(states, self._pad), labels)

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        raise ModelError(
            f"{self._file}: this model has no masked-language head, which splade pooling needs",
            'set pooling = "last-token"',
        )

    def _score(self, ops: Ops[V], weights: Weights, pooled: V, labels: int) -> V:
        """The classification head: [sequences, width] → [sequences, labels]."""
        return ops.dense(pooled, Linear(weights.head("score.weight", labels, self.hidden_size)))

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V, layer: LayerAttention) -> V:
        shape, attention, find, width = self._shape, layer.attention, weights.body, self.hidden_size
        query_width, key_width = attention.heads * attention.head_size, attention.key_heads * attention.head_size
        query, key, value = (
            ops.dense(states, linear(find, f"{prefix}{name}_proj", width, out, bias=shape.has_qkv_bias))
            for name, out in (("q", query_width), ("k", key_width), ("v", key_width))
        )
        if shape.has_head_norms:
            query = self._norm(ops, weights, f"{prefix}q_norm", query, attention.head_size)
            key = self._norm(ops, weights, f"{prefix}k_norm", key, attention.head_size)
        if shape.query_scale != 1.0:
            query = ops.scale(query, shape.query_scale)
        mixed = ops.attention(ops.rotate(query, layer.rotary), ops.rotate(key, layer.rotary), value, attention)
        return ops.dense(mixed, linear(find, f"{prefix}o_proj", query_width, width, bias=shape.has_output_bias))

    def _feed_forward(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        width, inner, find, bias = self.hidden_size, self._inner_width, weights.body, self._shape.has_feed_forward_bias
        gate = ops.dense(states, linear(find, f"{prefix}gate_proj", width, inner, bias=bias))
        up = ops.dense(states, linear(find, f"{prefix}up_proj", width, inner, bias=bias))
        gated = ops.multiply(ops.activate(gate, self._shape.activation), up)
        return ops.dense(gated, linear(find, f"{prefix}down_proj", inner, width, bias=bias))

    def _norm(self, ops: Ops[V], weights: Weights, name: str, states: V, width: int = 0) -> V:
        scale = weights.body(f"{name}.weight", width or self.hidden_size)
        return ops.rms_norm(states, scale, self._epsilon, offset=self._shape.scale_offset)


def read_activation(config: ModelConfig) -> Activation:
    """Read the activation of the gate from ``hidden_act``.

    Raises:
        ModelError: The activation is not supported.
    """
    activation: Activation = config.choice("hidden_act", ACTIVATIONS, "silu")
    return activation


def read_grouped_attention(
    config: ModelConfig, *, is_causal: bool, key_heads: int | None = None, size: int | None = None
) -> Attention:
    """Read attention over the whole sequence, with grouped key and value heads.

    Args:
        config: Config of the model.
        is_causal: Whether the attention is causal.
        key_heads: Number of key heads if the config states none; None for one per query head.
        size: Head size if the config states none; None for the hidden size divided by the number of heads.

    Raises:
        ModelError: The number of key heads does not divide the number of heads.
    """
    heads = config.number("num_attention_heads")
    stated = config.number("num_key_value_heads", heads) if "num_key_value_heads" in config.values else key_heads
    shared = heads if stated is None else stated
    if heads < 1 or shared < 1 or heads % shared:
        raise ModelError(f"{config.file}: {heads} `num_attention_heads` cannot share {shared} `num_key_value_heads`")
    default = config.number("hidden_size") // heads if size is None else size
    return Attention(heads, config.number("head_dim", default), shared, is_causal=is_causal)


def read_is_causal(config: ModelConfig) -> bool:
    """Whether attention is causal, as transformers reads ``is_causal``: true unless the key is false.

    Raises:
        ModelError: The model has its own code (``auto_map``), which may attend in both directions, and ``is_causal``
            is missing; or the config asks for bidirectional attention by a key that transformers does not read.
    """
    values = config.values
    if values.get("is_causal") is None:
        hint = "set `is_causal` there; false for bidirectional attention, as in gte-Qwen2 and models of LLM2Vec"
        code = values.get("auto_map")
        if isinstance(code, dict) and any(str(name).startswith("AutoModel") for name in code):
            raise ModelError(
                f"{config.file}: `auto_map` names code, which is never run, and `is_causal` is missing", hint
            )
        if values.get("use_bidirectional_attention"):
            raise ModelError(
                f"{config.file}: `use_bidirectional_attention` is {values['use_bidirectional_attention']!r}, which"
                f" transformers does not read for model_type {values.get('model_type')!r}",
                hint,
            )
    return config.flag("is_causal", default=True)
