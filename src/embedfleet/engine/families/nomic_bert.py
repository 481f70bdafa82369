"""Nomic-BERT (Nussbaum et al. 2024 and 2025): BERT with rotary embeddings, and a gate or a mixture of experts."""

from dataclasses import replace
from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.mixture_of_experts import read_mixture_of_experts
from embedfleet.engine.families.ops import ACTIVATIONS, Activation, Ops, V
from embedfleet.engine.families.rotary_config import read_rotary
from embedfleet.engine.families.rotary_encoder import RotaryEncoder, TensorNames
from embedfleet.engine.families.shared_layers import layer_norm, linear, read_attention, word_decoder
from embedfleet.engine.families.task_heads import bert_class_logits
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = TensorNames(
    embeddings_norm="emb_ln",
    layer="encoder.layers.{}.",
    qkv="attn.Wqkv",
    attention_output="attn.out_proj",
    attention_norm="norm1",
    up_gate=("mlp.fc11", "mlp.fc12"),
    down="mlp.fc2",
    feed_forward_norm="norm2",
)
_UNGATED = ("mlp.fc1",)
_REFUSED = ("prenorm", "parallel_block", "causal", "rotary_emb_interleaved", "use_rms_norm")
_NULL = ("rotary_scaling_factor", "rotary_emb_scale_base")
_GATES: dict[str, Activation] = {"swiglu": "silu", "geglu": "gelu"}


class NomicBert(Family):
    """Nomic-BERT. Its config.json has its authors' keys (``n_embd``) or transformers' (``hidden_size``)."""

    model_types: ClassVar[tuple[str, ...]] = ("nomic_bert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        _refuse_unsupported(config)
        has_own_keys = "n_embd" in config.values
        self.hidden_size = _number(config, "n_embd", "hidden_size")
        self.vocabulary = _vocabulary(config) if has_own_keys else config.number("vocab_size")
        types = config.number("type_vocab_size", 0)
        self.token_types = max(1, types)
        self.first_position = 0
        self.max_input_length = _number(config, "n_positions", "max_position_embeddings")
        attention = read_attention(config, "n_head" if has_own_keys else "num_attention_heads", self.hidden_size)
        is_gated = not has_own_keys or config.values.get("activation_function") != "gelu"
        activation = _activation(config, has_own_keys=has_own_keys)
        inner_width = _number(config, "n_inner", "intermediate_size")
        self._encoder = RotaryEncoder(
            _NAMES if is_gated else replace(_NAMES, up_gate=_UNGATED),
            _number(config, "n_layer", "num_hidden_layers"),
            types,
            self.hidden_size,
            inner_width,
            attention,
            read_rotary(config, attention.head_size, theta=1000.0, key="rotary_emb_base"),
            activation,
            config.real("layer_norm_epsilon" if has_own_keys else "layer_norm_eps", 1e-12),
            has_attention_bias=config.flag("qkv_proj_bias", default=False),
            has_up_bias=config.flag("mlp_fc1_bias", default=False),
            has_down_bias=config.flag("mlp_fc2_bias", default=False),
            is_gated=is_gated,
            experts=read_mixture_of_experts(config, self.hidden_size, inner_width, activation),
        )

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        return self._encoder.states(ops, weights, self._words(weights))

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        return bert_class_logits(ops, weights, states, self.hidden_size, labels)

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        head, width, find = "cls.predictions", self.hidden_size, weights.head
        states = ops.dense(states, linear(find, f"{head}.transform.dense", width, width))
        states = ops.activate(states, self._encoder.activation)
        norm = f"{head}.transform.layer_norm"
        states = layer_norm(ops, find, norm, states, width=width, epsilon=self._encoder.epsilon)
        return ops.dense(states, word_decoder(weights, f"{head}.decoder", f"{head}.bias", self._words(weights)))

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)


def _activation(config: ModelConfig, *, has_own_keys: bool) -> Activation:
    """Read the activation of the feed-forward block from the authors' key or transformers'."""
    activation: Activation = (
        config.choice("activation_function", _GATES | {"gelu": "gelu"}, "swiglu")
        if has_own_keys
        else config.choice("hidden_act", ACTIVATIONS, "silu")
    )
    return activation


def _refuse_unsupported(config: ModelConfig) -> None:
    """Refuse settings that no published model uses and that are not computed here.

    Raises:
        ModelError: The config has such a setting.
    """
    for key in _REFUSED:
        if config.flag(key, default=False):
            raise ModelError(f"{config.file}: `{key}` is true", "supported: false")
    for key in _NULL:
        if (stated := config.values.get(key)) is not None:
            raise ModelError(f"{config.file}: `{key}` is {stated!r}", "supported: null")
    fraction = config.real("rotary_emb_fraction", 1.0)
    if fraction != 1.0:
        raise ModelError(f"{config.file}: `rotary_emb_fraction` is {fraction}", "supported: 1.0")


def _vocabulary(config: ModelConfig) -> int:
    """Number of rows of the word embeddings, rounded up as in the authors' code."""
    size, multiple = config.number("vocab_size"), max(1, config.number("pad_vocab_size_multiple", 1))
    return -(-size // multiple) * multiple


def _number(config: ModelConfig, own: str, other: str) -> int:
    """Read a whole number under the authors' key ``own``, or under ``other`` if that is absent."""
    return config.number(own if own in config.values else other)
