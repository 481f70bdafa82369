"""The kind of a model, decided by the files of its folder; pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.weights import HEADS, tensors_of
from embedfleet.model_folder.file_names import MODULES, POOLING_CONFIG

_MODULES = "modules.json"
_LABELS = 2  # transformers' default for a classifier that does not state its number of labels


class Kind(StrEnum):
    """The kind of a model, by what it computes for a text."""

    EMBEDDER = "embedder"
    RERANKER = "reranker"
    CLASSIFIER = "classifier"
    SPLADE = "SPLADE model"
    LANGUAGE = "language model"


def kind_of(folder: ModelFolder, config: Mapping[str, Any], pooling: str = "auto") -> Kind:
    """Return the kind of a model.

    Args:
        folder: Folder of the model.
        config: Content of its ``config.json``.
        pooling: Setting ``pooling``; ``auto`` for the folder's own.
    """
    modules = _modules(folder)
    if pooling == "splade" or "SpladePooling" in modules:
        return Kind.SPLADE
    stated = config.get("architectures")
    names = [name for name in stated if isinstance(name, str)] if isinstance(stated, list) else []
    if any(name.endswith("ForSequenceClassification") for name in names):
        return _classifier(_labels(config) or _rows(folder) or _LABELS)
    pools = "Pooling" in modules or folder.has(POOLING_CONFIG) or pooling != "auto"
    if not pools and MODULES not in folder.json and (rows := _rows(folder)):
        return _classifier(rows)
    if not pools and any(name.endswith("ForCausalLM") for name in names):
        return Kind.LANGUAGE
    return Kind.EMBEDDER


def misplaced(kind: Kind, service: str, task: str, *, by_tei: bool) -> tuple[str, str]:
    """Return what a service cannot do with a model of this kind, and a hint; both are empty if nothing is missing.

    Args:
        kind: Kind of the model.
        service: Name of the service.
        task: Setting ``task`` of the service.
        by_tei: Whether TEI serves the model; TEI ranks only with cross-encoders.
    """
    wanted = {"embedder": "embed", "reranker": "rerank"}.get(service, task) if task == "auto" else task
    if wanted == "embed" and kind in {Kind.RERANKER, Kind.CLASSIFIER}:
        how = ": /embed answers 424" if task == "auto" else ""
        return f"the service {service} cannot embed with a {kind}{how}", "give the folder of an embedder"
    if wanted == "rerank" and by_tei and kind is not Kind.RERANKER:
        problem = f"the service {service} cannot rank with this {kind} in TEI: /rerank answers 424"
        return problem, "give the folder of a reranker: a cross-encoder with one label"
    return "", ""


def _modules(folder: ModelFolder) -> set[str]:
    rows = folder.json.get(MODULES)
    rows = rows if isinstance(rows, list) else []
    return {str(row.get("type", "")).rpartition(".")[2] for row in rows if isinstance(row, dict)}


def _classifier(labels: int) -> Kind:
    return Kind.RERANKER if labels == 1 else Kind.CLASSIFIER


def _labels(config: Mapping[str, Any]) -> int:
    """Return the number of labels that the configuration states; 0 if it states none."""
    names, count = config.get("id2label"), config.get("num_labels")
    if isinstance(names, dict) and names:
        return len(names)
    return count if isinstance(count, int) else 0


def _rows(folder: ModelFolder) -> int:
    """Return the number of rows of the classification head in the weights; 0 if there is none."""
    tensors = tensors_of(folder) or {}
    return next((tensors[head][0] for head in HEADS if tensors.get(head)), 0)
