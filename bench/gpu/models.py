"""Small seeded models of every family that the engine serves, as recipes of `bench.fuzz.folders`."""

from collections.abc import Mapping
from dataclasses import replace

from bench.fuzz.folders import KINDS, Kind

_BERT, _QWEN3 = KINDS["bert with modules"], KINDS["qwen3"]
_SHARED = {"position_embedding_type": "absolute", "embedding_size": 8}


def _like(kind: Kind, model_type: str, architecture: str, **values: object) -> Kind:
    """A recipe with another model type, and other values of config.json."""
    named = {"model_type": model_type, "architectures": [architecture]}
    return replace(kind, config={**kind.config, **named, **values})


FAMILIES: Mapping[str, Kind] = {
    **{name: kind for name, kind in KINDS.items() if "onnx" not in name},
    "electra": _like(_BERT, "electra", "ElectraModel", **_SHARED),
    "albert": _like(_BERT, "albert", "AlbertModel", num_hidden_groups=2, **_SHARED),
    "qwen2": _like(_QWEN3, "qwen2", "Qwen2Model"),
}
"""Recipes by name, at least one of each family."""
