"""The body that Llama, Mistral, Qwen and Gemma share: norms first, rotary places, keys that heads share, a gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from embedfleet.engine.families.layers import linear
from embedfleet.engine.families.ops import ACTIVATIONS, Activation, Attention, Linear, Ops, V
from embedfleet.engine.families.sight import Sight
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Build:
    """What tells one such model from another.

    Attributes:
        sights: of each layer.
        activation: of the gate.
        input_bias: whether the layers to queries, keys and values have biases.
        output_bias: whether the layer after the attention has one.
        feed_bias: whether the three of the feed-forward part have.
        norms_heads: whether queries and keys are normalised by head.
        norms_twice: whether what a part gives is normalised as well before it is added.
        norms_above: what is added to the norms' weights.
        words_scale: what the words' vectors are multiplied by.
        scores_scale: what attention's scores are multiplied by beyond the root of the head's size.
    """

    sights: Sequence[Sight]
    activation: Activation
    input_bias: bool = False
    output_bias: bool = False
    feed_bias: bool = False
    norms_heads: bool = False
    norms_twice: bool = False
    norms_above: float = 0.0
    words_scale: float = 1.0
    scores_scale: float = 1.0


class Decoder:
    """See `Family`. A family of this body reads its `Build` and adds nothing, or a head.

    Args:
        config: of the model.
        build: as the family reads it there.
        positions: that the family's class has where the config states none.
    """

    anchor: ClassVar[str] = "embed_tokens.weight"

    def __init__(self, config: ModelConfig, build: Build, *, positions: int) -> None:
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        self.token_types = 1
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings", positions)
        self._file = config.file
        self._build = build
        self._wide = config.number("intermediate_size")
        self._epsilon = config.real("rms_norm_eps", 1e-6)
        self._pad = None if config.values.get("pad_token_id") is None else config.number("pad_token_id")

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        build, norm = self._build, self._norm
        states = ops.embed(weights.body(self.anchor, self.vocabulary, self.hidden_size), ops.ids)
        if build.words_scale != 1.0:
            states = ops.scale(states, build.words_scale)
        for number, sight in enumerate(build.sights):
            prefix = f"layers.{number}."
            mixed = self._attend(
                ops, weights, f"{prefix}self_attn.", norm(ops, weights, f"{prefix}input_layernorm", states), sight
            )
            before = "post_attention_layernorm"
            if build.norms_twice:
                mixed, before = norm(ops, weights, f"{prefix}{before}", mixed), "pre_feedforward_layernorm"
            states = ops.add(states, mixed)
            fed = self._feed(ops, weights, f"{prefix}mlp.", norm(ops, weights, f"{prefix}{before}", states))
            if build.norms_twice:
                fed = norm(ops, weights, f"{prefix}post_feedforward_layernorm", fed)
            states = ops.add(states, fed)
        return norm(ops, weights, "norm", states)

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`: one dense layer on each sequence's last token that is no padding."""
        return self._score(ops, weights, ops.last(states, self._pad), labels)

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:  # noqa: ARG002 - the protocol's
        """See `Family.word_logits`: a model that generates has no masked-language head."""
        raise ModelError(
            f"{self._file}: this model has no masked-language head, which splade pooling needs",
            'set pooling = "last-token"',
        )

    def _score(self, ops: Ops[V], weights: Weights, pooled: V, labels: int) -> V:
        """[sequences, width] → [sequences, labels]."""
        return ops.dense(pooled, Linear(weights.head("score.weight", labels, self.hidden_size)))

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V, sight: Sight) -> V:
        build, shape, find, width = self._build, sight.attention, weights.body, self.hidden_size
        wide, narrow = shape.heads * shape.head_size, shape.key_heads * shape.head_size
        query, key, value = (
            ops.dense(states, linear(find, f"{prefix}{name}_proj", width, out, bias=build.input_bias))
            for name, out in (("q", wide), ("k", narrow), ("v", narrow))
        )
        if build.norms_heads:
            query = self._norm(ops, weights, f"{prefix}q_norm", query, shape.head_size)
            key = self._norm(ops, weights, f"{prefix}k_norm", key, shape.head_size)
        if build.scores_scale != 1.0:
            query = ops.scale(query, build.scores_scale)
        mixed = ops.attention(ops.rotate(query, sight.rotary), ops.rotate(key, sight.rotary), value, shape)
        return ops.dense(mixed, linear(find, f"{prefix}o_proj", wide, width, bias=build.output_bias))

    def _feed(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        width, wide, find, bias = self.hidden_size, self._wide, weights.body, self._build.feed_bias
        gate = ops.dense(states, linear(find, f"{prefix}gate_proj", width, wide, bias=bias))
        up = ops.dense(states, linear(find, f"{prefix}up_proj", width, wide, bias=bias))
        inner = ops.multiply(ops.activate(gate, self._build.activation), up)
        return ops.dense(inner, linear(find, f"{prefix}down_proj", wide, width, bias=bias))

    def _norm(self, ops: Ops[V], weights: Weights, name: str, states: V, width: int = 0) -> V:
        scale = weights.body(f"{name}.weight", width or self.hidden_size)
        return ops.rms_norm(states, scale, self._epsilon, above=self._build.norms_above)


def read_activation(config: ModelConfig) -> Activation:
    """The gate's, as ``hidden_act`` states it.

    Raises:
        ModelError: it is not known.
    """
    activation: Activation = config.choice("hidden_act", ACTIVATIONS, "silu")
    return activation


def read_heads(
    config: ModelConfig, *, causal: bool, key_heads: int | None = None, size: int | None = None
) -> Attention:
    """The attention of a layer whose tokens see the whole sequence, or what of it stands before them.

    Args:
        config: of the model.
        causal: whether they see only what stands before them.
        key_heads: where the config has no such key; None means as many as there are heads.
        size: of a head, where the config states none; None means that they share the width.

    Raises:
        ModelError: the heads cannot be shared out.
    """
    heads = config.number("num_attention_heads")
    stated = config.number("num_key_value_heads", heads) if "num_key_value_heads" in config.values else key_heads
    shared = heads if stated is None else stated
    if heads < 1 or shared < 1 or heads % shared:
        raise ModelError(f"{config.file}: {heads} `num_attention_heads` cannot share {shared} `num_key_value_heads`")
    default = config.number("hidden_size") // heads if size is None else size
    return Attention(heads, config.number("head_dim", default), shared, causal=causal)


def is_causal(config: ModelConfig) -> bool:
    """Whether a token sees only those before it, as transformers reads ``is_causal``: so it is unless that is false.

    Raises:
        ModelError: the model has code of its own (``auto_map``), which may let them see each other, and does not say so
            there; or it says so by a key that transformers does not read.
    """
    values = config.values
    if values.get("is_causal") is None:
        hint = "state `is_causal` there: false where tokens see each other both ways, as of gte-Qwen2 or LLM2Vec's"
        code = values.get("auto_map")
        if isinstance(code, dict) and any(str(name).startswith("AutoModel") for name in code):
            raise ModelError(
                f"{config.file}: `auto_map` names code, which is never run, and `is_causal` is missing", hint
            )
        if values.get("use_bidirectional_attention"):
            raise ModelError(
                f"{config.file}: `use_bidirectional_attention` is {values['use_bidirectional_attention']!r}, which"
                f" transformers does not read of {values.get('model_type')!r}",
                hint,
            )
    return config.flag("is_causal", default=True)
