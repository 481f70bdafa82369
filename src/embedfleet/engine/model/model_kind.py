"""Kind of a model: embedder, reranker, classifier or SPLADE; and the labels of a classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedfleet.engine.model.modules import Module
from embedfleet.engine.model.pooling_config import Pooling, states_pooling
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

ModelKind = Literal["embedding", "classifier", "reranker", "splade"]

_MOST_CLASSES = 100_000  # a larger number is taken for corrupt
_CLASSIFIES = "ForSequenceClassification"
_HEADS = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
"""Tensors of classification heads whose rows are the classes."""


@dataclass(frozen=True, slots=True)
class RequestedUse:
    """Intended use of a folder.

    Attributes:
        pooling: Pooling that replaces the folder's; None for the folder's.
        ranks: Whether the model must rank texts; an embedder does so by late interaction.
    """

    pooling: Pooling | None
    ranks: bool


@dataclass(frozen=True, slots=True)
class KindAndLabels:
    """Kind of a model, and its classes.

    Attributes:
        kind: Kind of the model.
        id2label: Class number → name; empty for embedders and SPLADE models.
    """

    kind: ModelKind
    id2label: dict[int, str]


def detect_kind(
    folder: Path,
    config: ModelConfig,
    modules: Sequence[Module],
    requested: RequestedUse,
    head: Callable[[tuple[str, ...]], tuple[int, ...]],
) -> KindAndLabels:
    """Detect the kind of a model.

    As in TEI, an architecture for sequence classification is a classifier; with one label it is a reranker. A model
    with a masked-language head is SPLADE if the settings ask for it, as in TEI, or if sentence-transformers' files say
    so. If the architecture names no head, the weights decide: sentence-transformers' CrossEncoder uses a head that the
    weights have.

    Args:
        folder: Folder of the model.
        config: The model's config.json.
        modules: Modules of sentence-transformers.
        requested: Intended use.
        head: Function from tensor names to the shape of the first one that the weights have; empty if they have none.

    Raises:
        ModelError: The model does not support the intended use.
    """
    architecture = _architecture(config)
    if architecture.endswith(_CLASSIFIES):
        return _classes(_labels(config, None))
    has_pooling = states_pooling(folder, modules)
    rows = min(_MOST_CLASSES, (*head(_HEADS), 0)[0]) if "For" not in architecture else 0
    if rows and not has_pooling and (requested.ranks or requested.pooling is None):
        return _classes(_labels(config, rows))
    if _is_splade(config, architecture, requested.pooling, states_sparse=not has_pooling and _states_sparse(modules)):
        return KindAndLabels("splade", {})
    if requested.ranks:
        _check_ranks(config, rows)
    return KindAndLabels("embedding", {})


def _architecture(config: ModelConfig) -> str:
    """First architecture that the config names; empty for none."""
    architectures = config.values.get("architectures") or [""]
    if not isinstance(architectures, list):
        raise ModelError(f"{config.file}: `architectures` is {architectures!r}, it must be an array of names")
    return str(architectures[0])


def _classes(labels: dict[int, str]) -> KindAndLabels:
    return KindAndLabels("reranker" if len(labels) == 1 else "classifier", labels)


def _labels(config: ModelConfig, rows: int | None) -> dict[int, str]:
    """Names of the classes by number. transformers omits default names, and sometimes the number of classes.

    Args:
        config: The model's config.json.
        rows: Rows of a head that only the weights reveal; None otherwise.
    """
    labels = config.values.get("id2label")
    if labels is None:
        count = config.number("num_labels", rows or 2, at_most=_MOST_CLASSES)
        if not count:
            raise ModelError(f"{config.file}: `num_labels` is 0, it must be at least 1")
        return {number: f"LABEL_{number}" for number in range(count)}
    if not isinstance(labels, dict) or not labels:
        raise ModelError(f"{config.file}: `id2label` is {labels!r}, it must be an object of numbers and names")
    if set(labels) != {str(number) for number in range(len(labels))}:
        raise ModelError(f"{config.file}: `id2label` has the keys {list(labels)}, they must be 0, 1, …")
    return {number: str(labels[str(number)]) for number in range(len(labels))}


def _states_sparse(modules: Sequence[Module]) -> bool:
    return any(module.name == "SpladePooling" for module in modules)


def _is_splade(config: ModelConfig, architecture: str, pooling: Pooling | None, *, states_sparse: bool) -> bool:
    """Whether the model is used as SPLADE.

    Raises:
        ModelError: SPLADE is asked for, but the model has no masked-language head.
    """
    if pooling is not Pooling.SPLADE and not (pooling is None and states_sparse):
        return False
    if not architecture.endswith("ForMaskedLM"):
        raise ModelError(
            f"{config.file}: splade pooling needs a masked-language head, but the architecture is {architecture!r}",
            "supported: architectures that end in ForMaskedLM",
        )
    return True


def _check_ranks(config: ModelConfig, rows: int) -> None:
    """Refuse late interaction for a model that may be a cross-encoder.

    Raises:
        ModelError: The weights have a classification head.
    """
    if rows:
        raise ModelError(
            f"the weights have a classification head that no architecture in {config.file} uses, and the folder "
            "states a pooling: the model may be a cross-encoder or an embedder",
            f"for a cross-encoder, name its architecture in config.json, such as BertForSequenceClassification "
            f"(…{_CLASSIFIES}); serve an embedder with task embed",
        )
