"""The table of architectures that TEI computes, with the keys of ``config.json`` that each requires.

Keys and kinds are those of the records into which TEI's candle backend reads the file (``backends/candle/src/models``,
release 1.9.3). A missing key gets transformers' default, from `model_folder.defaults` or from this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["count", "integer", "number", "flag", "text", "activation", "texts"]
Rotary = Literal["", "plain", "scaled", "modernbert", "gemma"]

NO_DEFAULT = object()
"""Marker for a key for which no library has a default."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that TEI requires.

    Attributes:
        kind: Kind of its value.
        default: Transformers' default if `model_folder.defaults` has none; `NO_DEFAULT` if there is none.
        alias: Transformers' other name of the key; empty for none.
    """

    kind: Kind
    default: object = NO_DEFAULT
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A key for which TEI computes only some values, whether it reads the key or not.

    Attributes:
        values: Values that TEI computes.
        absent: Transformers' default for a missing key; None if it is one of ``values``.
    """

    values: tuple[object, ...]
    absent: object = None


@dataclass(frozen=True, slots=True)
class TeiFamily:
    """An architecture that TEI computes.

    Attributes:
        model_types: Values of ``model_type`` in ``config.json``.
        keys: Keys that TEI requires, except those of rotary position embeddings, which `tei.rotary` settles.
        prefixes: Prefixes of its class names in transformers, in the order of ``model_types``.
        optional: Keys that may be missing or null, with the kind of their value.
        poolings: Poolings that TEI computes.
        head: Name of the classification head's weight; empty if TEI has no classifier of this architecture.
        since: First release with this architecture.
        needs_flash: Whether it runs only in float16 on a GPU with flash attention.
        needs_float32: Whether it runs only in float32.
        rotary: Style of its keys for rotary position embeddings; empty if it has none.
        fixed: Keys for which TEI computes only some values.
    """

    model_types: tuple[str, ...]
    keys: Mapping[str, Key]
    prefixes: tuple[str, ...]
    optional: Mapping[str, Kind] = field(default_factory=dict)
    poolings: tuple[str, ...] = ("cls", "mean")
    head: str = ""
    since: tuple[int, int, int] = (0, 0, 0)
    needs_flash: bool = False
    needs_float32: bool = False
    rotary: Rotary = ""
    fixed: Mapping[str, Fixed] = field(default_factory=dict)


def _counts(**defaults: int) -> dict[str, Key]:
    return {name: Key("count", default) for name, default in defaults.items()}


def _required(*names: str) -> dict[str, Key]:
    return {name: Key("count") for name in names}


_SHAPE = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_BERT = {
    **_required(*_SHAPE, "max_position_embeddings", "type_vocab_size", "pad_token_id"),
    **{name: Key("number") for name in ("hidden_dropout_prob", "initializer_range", "layer_norm_eps")},
    "hidden_act": Key("activation"),
}
_BERT_OPTIONAL: dict[str, Kind] = {"classifier_dropout": "number"}
_ENCODES = {"is_decoder": Fixed((False,)), "add_cross_attention": Fixed((False,))}
_ABSOLUTE = {"position_embedding_type": Fixed(("absolute",))}
_LLAMA = {
    **_counts(vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32),
    **_counts(num_attention_heads=32),
    "num_key_value_heads": Key("count", 32, "num_attention_heads"),
    "hidden_act": Key("activation", "silu"),
    **_counts(max_position_embeddings=2048),
    "initializer_range": Key("number", 0.02),
    "rms_norm_eps": Key("number", 1e-6),
}
_MISTRAL = _LLAMA | _counts(intermediate_size=14336, num_key_value_heads=8, max_position_embeddings=131072)
_QWEN = {
    **_counts(vocab_size=151936, hidden_size=4096, intermediate_size=22016, num_hidden_layers=32),
    **_counts(num_attention_heads=32, num_key_value_heads=32),
    "hidden_act": Key("activation", "silu"),
    **_counts(max_position_embeddings=32768),
    "rms_norm_eps": Key("number", 1e-6),
    "use_sliding_window": Key("flag", False),
}
_DECODER_POOLINGS = ("cls", "mean", "last-token")

JINA = TeiFamily(("bert",), _BERT, ("Bert",), optional=_BERT_OPTIONAL, head="classifier.weight", fixed=_ENCODES)
"""JinaBERT and its variant for source code. Their model_type is bert, so the repository of their code decides."""

JINA_CODE_OF = ("jinaai/jina-bert-implementation", "jinaai/jina-bert-v2-qk-post-norm")

FAMILIES = (
    TeiFamily(
        ("bert",),
        _BERT,
        ("Bert",),
        optional=_BERT_OPTIONAL,
        poolings=("cls", "mean", "splade"),
        head="classifier.weight",
        fixed=_ENCODES | _ABSOLUTE,
    ),
    TeiFamily(
        ("xlm-roberta", "roberta", "camembert"),
        _BERT,
        ("XLMRoberta", "Roberta", "Camembert"),
        optional=_BERT_OPTIONAL,
        poolings=("cls", "mean", "splade"),
        head="classifier.out_proj.weight",
        fixed=_ENCODES | _ABSOLUTE,
    ),
    TeiFamily(
        ("distilbert",),
        {
            "dim": Key("count", alias="hidden_size"),
            "n_layers": Key("count", alias="num_hidden_layers"),
            "n_heads": Key("count", alias="num_attention_heads"),
            **_required("vocab_size", "hidden_dim", "max_position_embeddings", "pad_token_id"),
            "activation": Key("activation"),
        },
        ("DistilBert",),
        optional=_BERT_OPTIONAL,
        poolings=("cls", "mean", "splade"),
        head="classifier.weight",
    ),
    TeiFamily(
        ("mpnet",),
        {
            **{name: key for name, key in _BERT.items() if name not in {"type_vocab_size", "pad_token_id"}},
            "attention_probs_dropout_prob": Key("number"),
            "relative_attention_num_buckets": Key("count"),
        },
        ("MPNet",),
        since=(1, 6, 0),
    ),
    TeiFamily(
        ("deberta-v2",),
        {
            **_required(*_SHAPE, "max_position_embeddings", "type_vocab_size"),
            **{name: Key("number") for name in ("initializer_range", "layer_norm_eps")},
            "hidden_act": Key("activation"),
            "relative_attention": Key("flag"),
            "max_relative_positions": Key("integer"),
            "position_biased_input": Key("flag"),
            "pos_att_type": Key("texts", []),
            "pooler_hidden_act": Key("activation"),
        },
        ("DebertaV2",),
        optional={
            **dict.fromkeys(("pad_token_id", "attention_head_size", "embedding_size", "pooler_hidden_size"), "count"),
            **dict.fromkeys(("conv_kernel_size", "conv_groups"), "count"),
            **dict.fromkeys(("norm_rel_ebd", "conv_act"), "text"),
            "position_buckets": "integer",
            "share_att_key": "flag",
        },
        head="classifier.weight",
        since=(1, 9, 0),
    ),
    TeiFamily(
        ("modernbert",),
        {
            **_counts(vocab_size=50368, hidden_size=768, intermediate_size=1152, num_hidden_layers=22),
            **_counts(num_attention_heads=12),
            "hidden_activation": Key("activation", "gelu"),
            **_counts(max_position_embeddings=8192),
            "initializer_range": Key("number", 0.02),
            "initializer_cutoff_factor": Key("number", 2.0),
            "norm_eps": Key("number", 1e-5),
            "norm_bias": Key("flag", False),
            **_counts(pad_token_id=50283, eos_token_id=50282, bos_token_id=50281, cls_token_id=50281),
            **_counts(sep_token_id=50282),
            "attention_bias": Key("flag", False),
            "attention_dropout": Key("number", 0.0),
            **_counts(local_attention=128),
            "classifier_activation": Key("activation", "gelu"),
        },
        ("ModernBert",),
        optional={
            "embedding_dropout": "number",
            "mlp_bias": "flag",
            "mlp_dropout": "number",
            "decoder_bias": "flag",
            "classifier_dropout": "number",
            "classifier_bias": "flag",
            "deterministic_flash_attn": "flag",
            "sparse_prediction": "flag",
            "sparse_pred_ignore_index": "integer",
            "reference_compile": "flag",
        },
        head="classifier.weight",
        since=(1, 7, 0),
        rotary="modernbert",
        fixed={
            "norm_bias": Fixed((False,)),
            "classifier_bias": Fixed((False,)),
            "classifier_pooling": Fixed(("cls", "mean")),
        },
    ),
    TeiFamily(
        ("nomic_bert",),
        {
            "prenorm": Key("flag"),
            "rotary_emb_fraction": Key("number"),
            "qkv_proj_bias": Key("flag"),
            "rotary_emb_base": Key("number"),
            "rotary_emb_interleaved": Key("flag"),
            "mlp_fc1_bias": Key("flag"),
            "mlp_fc2_bias": Key("flag"),
            **_required("n_embd", "n_head", "n_inner", "n_layer", "n_positions"),
            "activation_function": Key("activation"),
            **_required("vocab_size", "type_vocab_size"),
            "layer_norm_epsilon": Key("number"),
        },
        ("NomicBert",),
        optional={"rotary_scaling_factor": "number", "moe_every_n_layers": "count", "moe_top_k": "count"},
        fixed={
            "prenorm": Fixed((False,)),
            "rotary_emb_fraction": Fixed((1,)),
            "rotary_emb_interleaved": Fixed((False,)),
        },
    ),
    TeiFamily(
        ("new", "gte"),
        {
            **_required("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
            "hidden_act": Key("activation", "gelu"),
            **_required("max_position_embeddings"),
            **_counts(type_vocab_size=0),
            "layer_norm_type": Key("text", "layer_norm"),
            "layer_norm_eps": Key("number", 1e-12),
            "position_embedding_type": Key("text", "rope"),
        },
        ("New", "Gte"),
        head="classifier.weight",
        rotary="scaled",
        fixed={
            "layer_norm_type": Fixed(("layer_norm",)),
            "position_embedding_type": Fixed(("rope",)),
            "logn_attention_scale": Fixed((False,)),
        },
    ),
    TeiFamily(
        ("mistral",),
        _MISTRAL,
        ("Mistral",),
        optional={"sliding_window": "count", "use_bidirectional_attention": "flag"},
        poolings=_DECODER_POOLINGS,
        needs_flash=True,
        rotary="scaled",
    ),
    TeiFamily(
        ("llama", "llama_bidirec"),
        _LLAMA,
        ("Llama",),
        optional={"sliding_window": "count", "head_dim": "count", "attention_bias": "flag"},
        poolings=_DECODER_POOLINGS,
        since=(1, 9, 0),
        needs_flash=True,
        rotary="scaled",
    ),
    TeiFamily(
        ("qwen2",),
        _QWEN,
        ("Qwen2",),
        optional={"sliding_window": "count"},
        poolings=_DECODER_POOLINGS,
        needs_flash=True,
        rotary="plain",
        fixed={"use_sliding_window": Fixed((False,))},
    ),
    TeiFamily(
        ("qwen3",),
        # TEI pads with the end token; any id works.
        _QWEN | {"attention_bias": Key("flag", False), "head_dim": Key("count", 128), "eos_token_id": Key("count", 0)},
        ("Qwen3",),
        optional={"sliding_window": "count"},
        poolings=_DECODER_POOLINGS,
        since=(1, 7, 2),
        rotary="plain",
        fixed={"use_sliding_window": Fixed((False,))},
    ),
    TeiFamily(
        ("gemma3_text",),
        {
            "attention_bias": Key("flag", False),
            **_counts(pad_token_id=0, head_dim=256),
            "hidden_activation": Key("activation", "gelu_pytorch_tanh"),
            **_counts(hidden_size=2304, intermediate_size=9216, max_position_embeddings=131072),
            **_counts(num_attention_heads=8, num_hidden_layers=26, num_key_value_heads=4, query_pre_attn_scalar=256),
            "rms_norm_eps": Key("number", 1e-6),
            **_counts(vocab_size=262208),
        },
        ("Gemma3Text",),
        optional={"sliding_window": "count"},
        poolings=("mean",),
        since=(1, 8, 1),
        needs_float32=True,
        rotary="gemma",
        fixed={
            "use_bidirectional_attention": Fixed((True,), absent=False),  # causal in transformers, never in TEI
            "attn_logit_softcapping": Fixed(()),
        },
    ),
)


def family_of(model_type: object) -> TeiFamily | None:
    """Return the family of a ``model_type``; None if TEI has none."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def class_of(model_type: str, ending: str = "Model") -> str:
    """Return a model's class name in transformers, with an ending such as ``Model`` for a model without a head."""
    family = family_of(model_type)
    if family is None:
        return ending
    return family.prefixes[min(family.model_types.index(model_type), len(family.prefixes) - 1)] + ending


def model_type_of(architecture: str) -> str:
    """Return the ``model_type`` of a class name; empty if the name belongs to no family."""
    for family in FAMILIES:
        for number, prefix in enumerate(family.prefixes):
            if architecture.startswith((f"{prefix}For", f"{prefix}Model")):
                return family.model_types[number]
    return ""
