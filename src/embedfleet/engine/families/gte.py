"""GTE, the "new" architecture of Zhang et al. 2024 (mGTE): rotary places, a gated feed-forward part, norms last."""

from typing import ClassVar

from embedfleet.engine.families.gated import GatedPostNorm, Names
from embedfleet.engine.families.layers import decoder, heads_of, layer_norm, linear, pooled_classes
from embedfleet.engine.families.ops import ACTIVATIONS, Ops, V
from embedfleet.engine.families.rotary import read_rotary
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = Names(
    "embeddings.LayerNorm",
    "encoder.layer.{}.",
    "attention.qkv_proj",
    "attention.o_proj",
    "attn_ln",
    ("mlp.up_gate_proj",),
    "mlp.down_proj",
    "mlp_ln",
)


class Gte:
    """See `Family`. Its authors' models say ``new``, transformers' own ``gte``; their tensors have the same names."""

    model_types: ClassVar[tuple[str, ...]] = ("new", "gte")
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    def __init__(self, config: ModelConfig) -> None:
        config.choice("position_embedding_type", {"rope": True}, "rope")
        config.choice("layer_norm_type", {"layer_norm": True}, "layer_norm")
        if config.flag("logn_attention_scale", default=False):
            raise ModelError(f"{config.file}: `logn_attention_scale` is true", "supported: GTE without it")
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        types = config.number("type_vocab_size", 0)
        self.token_types = max(1, types)
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings")
        attention = heads_of(config, "num_attention_heads", self.hidden_size)
        self._encoder = GatedPostNorm(
            _NAMES,
            config.number("num_hidden_layers"),
            types,
            self.hidden_size,
            config.number("intermediate_size"),
            attention,
            read_rotary(config, attention.head_size, theta=160000.0),
            config.choice("hidden_act", ACTIVATIONS, "gelu"),
            config.real("layer_norm_eps", 1e-12),
            attention_bias=True,
            down_bias=True,
        )

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        return self._encoder.states(ops, weights, self._words(weights))

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`: BERT's."""
        return pooled_classes(ops, weights, states, self.hidden_size, labels)

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`, whose activation is always the exact GELU."""
        hidden, find = self.hidden_size, weights.head
        states = ops.activate(ops.dense(states, linear(find, "lm_head.dense", hidden, hidden)), "gelu")
        states = layer_norm(ops, find, "lm_head.norm", states, width=hidden, epsilon=self._encoder.epsilon)
        return ops.dense(states, decoder(weights, "lm_head.decoder", "lm_head.decoder.bias", self._words(weights)))

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)
