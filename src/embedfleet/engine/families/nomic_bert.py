"""Nomic-BERT (Nussbaum et al. 2024 and 2025): BERT with rotary places, gated, or with a mixture of experts."""

from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.experts import read_experts
from embedfleet.engine.families.gated import GatedPostNorm, Names
from embedfleet.engine.families.layers import decoder, heads_of, layer_norm, linear, pooled_classes
from embedfleet.engine.families.ops import ACTIVATIONS, Activation, Ops, V
from embedfleet.engine.families.rotary import read_rotary
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = Names(
    "emb_ln", "encoder.layers.{}.", "attn.Wqkv", "attn.out_proj", "norm1", ("mlp.fc11", "mlp.fc12"), "mlp.fc2", "norm2"
)
_UNGATED = ("mlp.fc1",)
_REFUSED = ("prenorm", "parallel_block", "causal", "rotary_emb_interleaved", "use_rms_norm")
_NULL = ("rotary_scaling_factor", "rotary_emb_scale_base")
_GATES: dict[str, Activation] = {"swiglu": "silu", "geglu": "gelu"}


class NomicBert:
    """See `Family`. Config.json has its authors' keys (``n_embd``) or transformers' (``hidden_size``)."""

    model_types: ClassVar[tuple[str, ...]] = ("nomic_bert",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    def __init__(self, config: ModelConfig) -> None:
        _refuse(config)
        own = "n_embd" in config.values
        self.hidden_size = _number(config, "n_embd", "hidden_size")
        self.vocabulary = _vocabulary(config) if own else config.number("vocab_size")
        types = config.number("type_vocab_size", 0)
        self.token_types = max(1, types)
        self.first_position = 0
        self.max_input_length = _number(config, "n_positions", "max_position_embeddings")
        attention = heads_of(config, "n_head" if own else "num_attention_heads", self.hidden_size)
        is_gated = not own or config.values.get("activation_function") != "gelu"
        activations = _GATES | {"gelu": "gelu"} if own else ACTIVATIONS
        activation = config.choice(
            *(("activation_function", activations, "swiglu") if own else ("hidden_act", activations, "silu"))
        )
        wide = _number(config, "n_inner", "intermediate_size")
        self._encoder = GatedPostNorm(
            _NAMES if is_gated else replace(_NAMES, up_gate=_UNGATED),
            _number(config, "n_layer", "num_hidden_layers"),
            types,
            self.hidden_size,
            wide,
            attention,
            read_rotary(config, attention.head_size, theta=1000.0, key="rotary_emb_base"),
            activation,
            config.real("layer_norm_epsilon" if own else "layer_norm_eps", 1e-12),
            attention_bias=config.flag("qkv_proj_bias", default=False),
            up_bias=config.flag("mlp_fc1_bias", default=False),
            down_bias=config.flag("mlp_fc2_bias", default=False),
            is_gated=is_gated,
            experts=read_experts(config, self.hidden_size, wide, activation),
        )

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        return self._encoder.states(ops, weights, self._words(weights))

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`: BERT's."""
        return pooled_classes(ops, weights, states, self.hidden_size, labels)

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`."""
        head, width, find = "cls.predictions", self.hidden_size, weights.head
        states = ops.dense(states, linear(find, f"{head}.transform.dense", width, width))
        states = ops.activate(states, self._encoder.activation)
        norm = f"{head}.transform.layer_norm"
        states = layer_norm(ops, find, norm, states, width=width, epsilon=self._encoder.epsilon)
        return ops.dense(states, decoder(weights, f"{head}.decoder", f"{head}.bias", self._words(weights)))

    def _words(self, weights: Weights) -> Tensor:
        return weights.body(self.anchor, self.vocabulary, self.hidden_size)


def _refuse(config: ModelConfig) -> None:
    """What the published models do not use would be computed wrongly: refuse it."""
    for key in _REFUSED:
        if config.flag(key, default=False):
            raise ModelError(f"{config.file}: `{key}` is true", "supported: Nomic-BERT without it")
    for key in _NULL:
        if (stated := config.values.get(key)) is not None:
            raise ModelError(f"{config.file}: `{key}` is {stated!r}", "supported: null")
    fraction = config.real("rotary_emb_fraction", 1.0)
    if fraction != 1.0:
        raise ModelError(f"{config.file}: `rotary_emb_fraction` is {fraction}", "supported: 1.0")


def _vocabulary(config: ModelConfig) -> int:
    """Rows of the word table, which the authors' code rounds up."""
    size, multiple = config.number("vocab_size"), max(1, config.number("pad_vocab_size_multiple", 1))
    return -(-size // multiple) * multiple


def _number(config: ModelConfig, own: str, other: str) -> int:
    return config.number(own if own in config.values else other)
