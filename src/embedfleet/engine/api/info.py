"""The reply of ``/info``: TEI's fields in TEI's order (TEI 1.9, router/src/lib.rs), then one of our own."""

from typing import Any

from embedfleet import __version__
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.settings import EngineSettings

TEI_VERSION = "1.9.3"
"""Version of TEI that this engine behaves like."""

_LATE_INTERACTION = {0: "late_interaction"}


def info(spec: ModelSpec, settings: EngineSettings, *, late_interaction: bool, precision: str) -> dict[str, Any]:
    """Make the body of ``/info``."""
    return {
        "model_id": settings.model,
        "model_sha": None,
        "model_dtype": precision,
        "served_model_name": served_name(settings),
        "model_type": model_type(spec, late_interaction=late_interaction),
        "max_concurrent_requests": settings.max_concurrent_requests,
        "max_input_length": spec.max_input_length,
        "max_batch_tokens": settings.max_batch_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": settings.max_client_batch_size,
        "auto_truncate": settings.auto_truncate,
        "tokenization_workers": settings.tokenization_workers,
        "version": TEI_VERSION,
        "sha": None,
        "docker_label": None,
        "engine": {
            "name": "embedfleet",
            "version": __version__,
            "scoring": "late_interaction" if late_interaction else None,
        },
    }


def served_name(settings: EngineSettings) -> str:
    """The model's name for clients: the one in the settings, else the value of ``model``."""
    return settings.served_model_name or settings.model


def model_type(spec: ModelSpec, *, late_interaction: bool) -> dict[str, Any]:
    """Make TEI's tagged model type; late interaction counts as a reranker with one label, ``late_interaction``."""
    if spec.pooling is not None and not late_interaction:
        return {"embedding": {"pooling": spec.pooling.value}}
    id2label = _LATE_INTERACTION if late_interaction else spec.id2label
    labels = {
        "id2label": {str(number): label for number, label in id2label.items()},
        "label2id": {label: number for number, label in id2label.items()},
    }
    return {"classifier" if spec.kind == "classifier" else "reranker": labels}
