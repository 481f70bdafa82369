"""Correction of ``config.json`` for TEI, or its refusal: family, keys, labels; pure.

Source: ``ModelConfig``, ``get_backend_model_type`` and ``run`` (router/src/lib.rs) for names, labels and positions; the
family's ``Config`` (backends/candle/src/lib.rs) and its record (backends/candle/src/models) for all other keys.
"""

from collections.abc import Mapping
from typing import Any

from embedfleet.control.tei.family import (
    JINA,
    JINA_CODE_OF,
    NO_DEFAULT,
    Kind,
    TeiFamily,
    class_of,
    family_of,
    model_type_of,
)
from embedfleet.control.tei.rotary import settle_rotary
from embedfleet.control.tei.verdict import OWN_ENGINE, Draft
from embedfleet.model_folder.defaults import DEFAULTS

CONFIG = "config.json"
_AGAIN = "copy the folder again from a complete one"
_TANH = {"gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate"}
_ACTIVATIONS = {"gelu", "relu", "silu", "swiglu"}
_LABELS = 2  # transformers' default for a classifier that does not state its number of labels
_MOST_LABELS = 100_000
_GTE_EXTRA = "NewForTokenClassification"


def settle_config(draft: Draft, config: dict[str, Any], *, by_onnx: bool) -> TeiFamily | None:
    """Correct a config for TEI in place; refuse one that cannot be corrected.

    Args:
        draft: Draft of the verdict.
        config: Content of ``config.json`` after `settle_names`; corrections change it in place.
        by_onnx: Whether TEI runs an exported ONNX file, which may be of any family.

    Returns:
        Family of the model; None if TEI has none.
    """
    family = JINA if _is_jina(config) else family_of(config["model_type"])
    if family is None:
        if not by_onnx:
            draft.refuse(CONFIG, "model_type", f"is {config['model_type']!r}, which TEI does not compute", OWN_ENGINE)
        return None
    if by_onnx:
        return family
    if config["model_type"] == "nomic_bert" and "n_embd" not in config and "hidden_size" in config:
        _translate_nomic(draft, config)
    _check_fixed(draft, config, family)
    for name, key in family.keys.items():
        default = DEFAULTS.get(config["model_type"], {}).get(name, key.default)
        _settle_key(draft, config, name, key.kind, config.get(key.alias) if key.alias in config else default)
    for name, kind in family.optional.items():
        value = config.get(name)
        if value is not None and not _is_kind(value, kind):
            draft.refuse(CONFIG, name, f"is {value!r}, TEI needs {_WORDS[kind]}", _AGAIN)
    settle_rotary(draft, config, family)
    return family


def settle_positions(draft: Draft, config: dict[str, Any]) -> int:
    """Correct the number of positions and the padding id, which TEI's router reads for every model.

    Returns:
        Number of positions; 0 if it is invalid.
    """
    if "n_positions" in config and "max_position_embeddings" in config:
        del config["max_position_embeddings"]
        draft.change(
            CONFIG,
            "max_position_embeddings",
            "is removed: TEI reads both it and n_positions as the number of positions",
        )
    name = "n_positions" if "n_positions" in config else "max_position_embeddings"
    positions = config.get(name)
    if not _is_kind(positions, "count") or not positions:
        if not any(refusal.key == name for refusal in draft.refusals):
            draft.refuse(CONFIG, name, f"is {positions!r}, TEI needs a number of positions", _AGAIN)
        return 0
    padding = config.get("pad_token_id", 0)
    if padding is None:
        del config["pad_token_id"]
        draft.change(CONFIG, "pad_token_id", "is null, which TEI cannot read: it is removed")
    elif not _is_kind(padding, "count"):
        draft.refuse(CONFIG, "pad_token_id", f"is {padding!r}, TEI needs {_WORDS['count']}", _AGAIN)
    return int(positions)


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether TEI treats a model as a classifier or a reranker, by the names in ``architectures``."""
    names = config.get("architectures")
    return isinstance(names, list) and any(isinstance(name, str) and name.endswith("Classification") for name in names)


def settle_labels(draft: Draft, config: dict[str, Any], rows: int | None) -> int:
    """Add a classifier's missing label names, and check that their number equals the rows of its head.

    Args:
        draft: Draft of the verdict.
        config: Content of ``config.json``, changed in place.
        rows: Number of rows of the head's weight; None if unknown.

    Returns:
        Number of labels; 0 if they are invalid.
    """
    names = config.get("id2label")
    if names is None:
        stated = config.get("num_labels")
        count = stated if isinstance(stated, int) and 0 < stated <= _MOST_LABELS else rows or _LABELS
        names = config["id2label"] = {str(number): f"LABEL_{number}" for number in range(count)}
        draft.change(CONFIG, "id2label", f"is missing: {count} labels, named as transformers names them")
    if not _are_labels(names):
        draft.refuse(CONFIG, "id2label", f"is {str(names)[:80]}, TEI needs a name for each label from 0 on", _AGAIN)
        return 0
    if rows is not None and rows != len(names):
        draft.refuse(
            CONFIG,
            "id2label",
            f"names {len(names)} labels, but the head in the weights has {rows}",
            "name as many labels as the head has rows",
        )
        return 0
    numbers = config.get("label2id")
    if not isinstance(numbers, dict) or not all(_is_kind(number, "count") for number in numbers.values()):
        config["label2id"] = {name: int(number) for number, name in names.items()}
        draft.change(CONFIG, "label2id", "is missing or not a table of numbers: it is made from id2label")
    if config["model_type"] == "modernbert" and config.get("num_labels") != len(names):
        config["num_labels"] = len(names)
        draft.change(
            CONFIG, "num_labels", "is missing: TEI reads a ModernBERT's number of labels from it, and defaults to 1"
        )
    return len(names)


def settle_names(draft: Draft, config: dict[str, Any]) -> bool:
    """Add a missing ``model_type`` or ``architectures``, which TEI requires; return whether both are valid now."""
    names = config.get("architectures")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        draft.refuse(CONFIG, "architectures", f"is {names!r}, TEI needs a list of names", _AGAIN)
        return False
    kind = config.get("model_type")
    if kind is None and names:
        kind = model_type_of(names[0])
        if kind:
            config["model_type"] = kind
            draft.change(CONFIG, "model_type", f"is missing: {names[0]} is a {kind}")
    if not isinstance(kind, str) or not kind:
        draft.refuse(CONFIG, "model_type", f"is {config.get('model_type')!r}", f'state it, such as "bert"; or {_AGAIN}')
        return False
    if not names:
        config["architectures"] = [class_of(kind)]
        draft.change(CONFIG, "architectures", f"is missing: {config['architectures'][0]}")
    elif _GTE_EXTRA in names and not (config.get("id2label") and config.get("label2id")):
        # The embedder gte-multilingual-base was published like this. Only some releases of TEI handle it.
        config["architectures"] = [name for name in names if name != _GTE_EXTRA] or [class_of(kind)]
        draft.change(CONFIG, "architectures", f"names {_GTE_EXTRA}, but there are no labels for it")
    return True


def _is_jina(config: Mapping[str, Any]) -> bool:
    """Whether a model is a JinaBERT, by the repository of its code, as in TEI."""
    auto = config.get("auto_map")
    code = str(auto.get("AutoConfig")) if isinstance(auto, dict) else ""
    name = config.get("_name_or_path")
    return config.get("model_type") == "bert" and any(name == place or place in code for place in JINA_CODE_OF)


def _translate_nomic(draft: Draft, config: dict[str, Any]) -> None:
    """Add the keys of NomicBERT's original code, which TEI reads, from the keys of transformers' own class."""
    names = {"n_embd": "hidden_size", "n_head": "num_attention_heads", "n_layer": "num_hidden_layers"}
    names |= {"n_inner": "intermediate_size", "n_positions": "max_position_embeddings"}
    defaults = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072}
    config |= {name: config.get(ours, defaults.get(ours, 2048)) for name, ours in names.items()}
    rope = config.get("rope_parameters")
    rope = rope if isinstance(rope, dict) else {}
    if rope.get("rope_type", "default") != "default":
        draft.refuse(CONFIG, "rope_parameters", f"scales positions by {rope['rope_type']!r}", OWN_ENGINE)
    if config.get("hidden_act", "silu") != "silu":
        draft.refuse(CONFIG, "hidden_act", f"is {config['hidden_act']!r}, TEI computes silu for this class", OWN_ENGINE)
    config |= {"activation_function": "swiglu", "layer_norm_epsilon": config.get("layer_norm_eps", 1e-12)}
    config |= {"rotary_emb_base": rope.get("rope_theta", 1000.0), "rotary_emb_fraction": 1.0}
    config |= dict.fromkeys(
        ("prenorm", "qkv_proj_bias", "rotary_emb_interleaved", "mlp_fc1_bias", "mlp_fc2_bias"), False
    )
    config.setdefault("type_vocab_size", 2)
    draft.change(CONFIG, "n_embd", "and others are missing: made from the keys of transformers' own class")


def _check_fixed(draft: Draft, config: Mapping[str, Any], family: TeiFamily) -> None:
    for name, fixed in family.fixed.items():
        value = config.get(name)
        value = fixed.absent if value is None else value
        if value is not None and value not in fixed.values:
            computes = " or ".join(repr(one) for one in fixed.values) or "none"
            draft.refuse(CONFIG, name, f"is {value!r}, TEI computes only {computes}", OWN_ENGINE)
    if config.get("quantization_config") is not None:
        draft.refuse(
            CONFIG, "quantization_config", "exists: TEI reads no quantised weights", "give the unquantised model"
        )


def _settle_key(draft: Draft, config: dict[str, Any], name: str, kind: Kind, default: object) -> None:
    """Add a key that TEI requires if it is missing, and check its type."""
    value = config.get(name)
    if value is None:
        if default is NO_DEFAULT:
            draft.refuse(CONFIG, name, "is missing, and no library has a value for it", _AGAIN)
            return
        config[name] = value = default
        draft.change(CONFIG, name, f"is missing: {default!r}")
    if kind == "count" and isinstance(value, list) and value and name == "eos_token_id":
        config[name] = value = value[0]
        draft.change(CONFIG, name, f"is a list: its first value, {value!r}, is used, with which TEI pads")
    if kind == "activation":
        _settle_activation(draft, config, name)
    elif not _is_kind(value, kind):
        draft.refuse(CONFIG, name, f"is {value!r}, TEI needs {_WORDS[kind]}", _AGAIN)


def _settle_activation(draft: Draft, config: dict[str, Any], name: str) -> None:
    """Change an activation to TEI's name; TEI's gelu is the tanh approximation, which transformers names otherwise."""
    value = config[name]
    known = isinstance(value, str)
    if known and (value in _ACTIVATIONS or (value == "gelu_pytorch_tanh" and config["model_type"] == "gemma3_text")):
        return
    if known and value in _TANH | {"swish"}:
        config[name] = "silu" if value == "swish" else "gelu"
        draft.change(CONFIG, name, f"is {value!r}, which TEI names {config[name]!r}")
        return
    draft.refuse(CONFIG, name, f"is {value!r}; TEI computes {', '.join(sorted(_ACTIVATIONS))}", OWN_ENGINE)


def _are_labels(names: object) -> bool:
    if not isinstance(names, dict) or not 0 < len(names) <= _MOST_LABELS:
        return False
    return all(isinstance(name, str) for name in names.values()) and all(str(n) in names for n in range(len(names)))


_WORDS: dict[Kind, str] = {
    "count": "a whole number from 0",
    "integer": "a whole number",
    "number": "a number",
    "flag": "true or false",
    "text": "a text",
    "activation": "the name of an activation",
    "texts": "a text or a list of texts",
}


def _is_kind(value: object, kind: Kind) -> bool:
    """Whether TEI's Rust reader accepts a value as this kind; it does not take 512.0 for a whole number."""
    match kind:
        case "count":
            return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "flag":
            return isinstance(value, bool)
        case "texts":
            return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))
        case _:
            return isinstance(value, str)
