"""Correction of the keys of rotary position embeddings, from those of transformers 5 to those that TEI reads; pure.

Source: the families' records (backends/candle/src/models) for the keys; backends/candle/src/layers/rotary.rs for the
kinds of scaling.
"""

from typing import Any

from embedfleet.control.tei.family import TeiFamily
from embedfleet.control.tei.verdict import OWN_ENGINE, Draft

_CONFIG = "config.json"
_NEW = "rope_parameters"
_OLD = "rope_scaling"
_PLAIN_THETA, _LOCAL_THETA = 10_000.0, 10_000.0
_GLOBAL_THETA = {"modernbert": 160_000.0, "gemma": 1_000_000.0}
_GLOBAL_KEY = {"modernbert": "global_rope_theta", "gemma": "rope_theta"}
_LOCAL_KEY = {"modernbert": "local_rope_theta", "gemma": "rope_local_base_freq"}
_PERIOD_KEY = {"modernbert": "global_attn_every_n_layers", "gemma": "_sliding_window_pattern"}
_PERIOD = {"modernbert": 3, "gemma": 6}
_LLAMA3 = ("factor", "high_freq_factor", "low_freq_factor", "original_max_position_embeddings")


def settle_rotary(draft: Draft, config: dict[str, Any], family: TeiFamily) -> None:
    """Write the keys of rotary position embeddings that TEI reads, in place; refuse kinds that it does not compute.

    Args:
        draft: Draft of the verdict.
        config: Content of ``config.json``.
        family: Family of the model.
    """
    if not family.rotary:
        return
    new = config.get(_NEW)
    new = new if isinstance(new, dict) else {}
    if family.rotary in _GLOBAL_KEY:
        _settle_layered(draft, config, family.rotary, new)
    else:
        _settle_theta(draft, config, "rope_theta", new.get("rope_theta"), _PLAIN_THETA)
        _settle_scaling(draft, config, family.rotary, new)
    if _NEW in config and not draft.refusals:
        del config[_NEW]
        draft.change(_CONFIG, _NEW, "is a key of transformers 5: its values are moved to the names that TEI reads")


def _settle_layered(draft: Draft, config: dict[str, Any], rotary: str, new: dict[str, Any]) -> None:
    """Settle the two rotary bases of a model with global and local attention layers."""
    full, sliding = (new.get(kind) for kind in ("full_attention", "sliding_attention"))
    full, sliding = (each if isinstance(each, dict) else {} for each in (full or new, sliding))
    _settle_theta(draft, config, _GLOBAL_KEY[rotary], full.get("rope_theta"), _GLOBAL_THETA[rotary])
    _settle_theta(draft, config, _LOCAL_KEY[rotary], sliding.get("rope_theta"), _LOCAL_THETA)
    for scaling in (config.get(_OLD), full, sliding):
        _refuse_scaling(draft, scaling)
    _settle_period(draft, config, rotary)


def _settle_period(draft: Draft, config: dict[str, Any], rotary: str) -> None:
    """Convert transformers 5's list of layer types to the period of global layers, which TEI reads."""
    name, kinds = _PERIOD_KEY[rotary], config.get("layer_types")
    period = config.get(name)
    period = config.get("sliding_window_pattern") if period is None and rotary == "gemma" else period
    if period is None:
        period = _period(kinds, rotary) if isinstance(kinds, list) else _PERIOD[rotary]
    if isinstance(period, bool) or not isinstance(period, int) or not 0 < period < 1 << 31:
        draft.refuse(_CONFIG, name, f"is {period!r}, TEI needs a whole number from 1", OWN_ENGINE)
        return
    if isinstance(kinds, list) and any(
        (kind == "full_attention") != _is_full(number, period, rotary) for number, kind in enumerate(kinds)
    ):
        draft.refuse(_CONFIG, "layer_types", f"does not repeat every {period} layers", OWN_ENGINE)
        return
    if config.get(name) != period:
        config[name] = period
        draft.change(_CONFIG, name, f"is missing: {period}, by the types of the layers")


def _period(kinds: list[Any], rotary: str) -> int:
    """Return the number of layers from one global layer to the next; more than all layers if none is global."""
    full = [number for number, kind in enumerate(kinds) if kind == "full_attention"]
    if rotary == "gemma":
        return full[0] + 1 if full else len(kinds) + 1
    return full[1] if len(full) > 1 else len(kinds) + 1


def _is_full(number: int, period: int, rotary: str) -> bool:
    return (number + 1) % period == 0 if rotary == "gemma" else number % period == 0


def _settle_theta(draft: Draft, config: dict[str, Any], name: str, new: object, default: float) -> None:
    value = config.get(name)
    if value is None:
        config[name] = value = default if new is None else new
        draft.change(_CONFIG, name, f"is missing: {value!r}")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        draft.refuse(_CONFIG, name, f"is {value!r}, TEI needs a number", OWN_ENGINE)


def _settle_scaling(draft: Draft, config: dict[str, Any], rotary: str, new: dict[str, Any]) -> None:
    """Settle scaled positions: TEI knows llama3 and ntk, and treats every other kind with a factor as ntk."""
    old = config.get(_OLD)
    scaling = old if old is not None else {key: value for key, value in new.items() if key != "rope_theta"}
    if old is not None and not isinstance(old, dict):
        draft.refuse(_CONFIG, _OLD, f"is {old!r}, TEI needs an object", OWN_ENGINE)
        return
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default" and scaling.get("partial_rotary_factor", 1) == 1:
        if old is not None:
            del config[_OLD]
            draft.change(_CONFIG, _OLD, "states no scaling in a form that TEI cannot read: it is removed")
        return
    known = (kind == "llama3" and all(_is_number(scaling.get(key)) for key in _LLAMA3)) or (
        kind == "ntk" and _is_number(scaling.get("factor"))
    )
    if rotary == "plain" or not known:
        _refuse_scaling(draft, scaling)
    elif old is None:
        config[_OLD] = scaling
        draft.change(_CONFIG, _OLD, f"is missing: {kind}, as {_NEW} says")


def _refuse_scaling(draft: Draft, scaling: object) -> None:
    values = scaling if isinstance(scaling, dict) else {}
    kind = values.get("rope_type", values.get("type", "default"))
    if kind != "default" or values.get("partial_rotary_factor", 1) != 1:
        what = (
            f"positions scaled by {kind!r}" if kind != "default" else "positions that rotate only a part of each head"
        )
        draft.refuse(_CONFIG, _OLD, f"or {_NEW}: {what}, which TEI does not compute for this model", OWN_ENGINE)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
