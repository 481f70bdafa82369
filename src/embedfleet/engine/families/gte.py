"""GTE, the "new" architecture of Zhang et al. 2024 (mGTE): rotary embeddings, gated feed-forward block, post-norm."""

from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import ACTIVATIONS, Ops, V
from embedfleet.engine.families.rotary_config import read_rotary
from embedfleet.engine.families.rotary_encoder import RotaryEncoder, TensorNames
from embedfleet.engine.families.shared_layers import layer_norm, linear, read_attention, word_decoder
from embedfleet.engine.families.task_heads import bert_class_logits
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = TensorNames(
    embeddings_norm="embeddings.LayerNorm",
    layer="encoder.layer.{}.",
    qkv="attention.qkv_proj",
    attention_output="attention.o_proj",
    attention_norm="attn_ln",
    up_gate=("mlp.up_gate_proj",),
    down="mlp.down_proj",
    feed_forward_norm="mlp_ln",
)


class Gte(Family):
    """GTE. Its type is ``new`` in the authors' models and ``gte`` in transformers; the tensor names are the same."""

    model_types: ClassVar[tuple[str, ...]] = ("new", "gte")
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        config.choice("position_embedding_type", {"rope": True}, "rope")
        config.choice("layer_norm_type", {"layer_norm": True}, "layer_norm")
        if config.flag("logn_attention_scale", default=False):
            raise ModelError(f"{config.file}: `logn_attention_scale` is true", "supported: false")
        self.hidden_size = config.number("hidden_size")
        self.vocabulary = config.number("vocab_size")
        types = config.number("type_vocab_size", 0)
        self.token_types = max(1, types)
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings")
        attention = read_attention(config, "num_attention_heads", self.hidden_size)
        self._encoder = RotaryEncoder(
            _NAMES,
            config.number("num_hidden_layers"),
            types,
            self.hidden_size,
            config.number("intermediate_size"),
            attention,
            read_rotary(config, attention.head_size, theta=160000.0),
            config.choice("hidden_act", ACTIVATIONS, "gelu"),
            config.real("layer_norm_eps", 1e-12),
            has_attention_bias=True,
            has_down_bias=True,
        )

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        return self._encoder.states(ops, weights, self._words(weights))

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        return bert_class_logits(ops, weights, states, self.hidden_size, labels)

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        hidden, find = self.hidden_size, weights.head
        # The reference always uses the exact GELU, whatever the config says.
        states = ops.activate(ops.dense(states, linear(find, "lm_head.dense", hidden, hidden)), "gelu")
        states = layer_norm(ops, find, "lm_head.norm", states, width=hidden, epsilon=self._encoder.epsilon)
        decoder = word_decoder(weights, "lm_head.decoder", "lm_head.decoder.bias", self._words(weights))
        return ops.dense(states, decoder)

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)
