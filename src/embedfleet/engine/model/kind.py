"""Finds out what a model is: embedder, reranker, classifier or SPLADE, and a classifier's labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedfleet.engine.model.modules import Module
from embedfleet.engine.model.pooling_config import Pooling, states_pooling
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

Kind = Literal["embedding", "classifier", "reranker", "splade"]

_MOST = 100_000  # classes; more are none
_CLASSIFIES = "ForSequenceClassification"
_HEADS = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
"""A tensor of each family's classification head, whose rows are the classes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a folder is read for.

    Attributes:
        pooling: instead of what the folder says.
        ranks: whether it is to rank texts; an embedder does so by late interaction.
    """

    pooling: Pooling | None
    ranks: bool


@dataclass(frozen=True, slots=True)
class Use:
    """What a folder is used for.

    Attributes:
        id2label: class number → name; empty for embedders.
    """

    kind: Kind
    id2label: dict[int, str]


def read_use(
    folder: Path,
    config: ModelConfig,
    modules: Sequence[Module],
    asked: Asked,
    head: Callable[[tuple[str, ...]], tuple[int, ...]],
) -> Use:
    """Find out what a folder is used for.

    TEI's rule: an architecture that ends in Classification classifies; with one label it is a reranker. A model with a
    masked-language head is SPLADE if it is asked to be, as for TEI, or if sentence-transformers says so. Where the
    architecture names no head the weights tell: sentence-transformers' CrossEncoder takes the head that is there.

    Args:
        folder: of the model.
        config: its config.json.
        modules: of sentence-transformers.
        asked: of it.
        head: the shape of the first of some tensors that the weights have; empty if they have none of them.

    Raises:
        ModelError: what is asked cannot be had of it.
    """
    architecture = _architecture(config)
    if architecture.endswith(_CLASSIFIES):
        return _classes(_labels(config, None))
    has_pooling = states_pooling(folder, modules)
    rows = min(_MOST, (*head(_HEADS), 0)[0]) if "For" not in architecture else 0
    if rows and not has_pooling and (asked.ranks or asked.pooling is None):
        return _classes(_labels(config, rows))
    if _is_splade(config, architecture, asked.pooling, states_sparse=not has_pooling and _states_sparse(modules)):
        return Use("splade", {})
    if asked.ranks:
        _check_ranks(config, rows)
    return Use("embedding", {})


def _architecture(config: ModelConfig) -> str:
    """The first architecture that is named; empty if none is."""
    architectures = config.values.get("architectures") or [""]
    if not isinstance(architectures, list):
        raise ModelError(f"{config.file}: `architectures` is {architectures!r}, an array of names is needed")
    return str(architectures[0])


def _classes(labels: dict[int, str]) -> Use:
    return Use("reranker" if len(labels) == 1 else "classifier", labels)


def _labels(config: ModelConfig, rows: int | None) -> dict[int, str]:
    """The classes; names that are transformers' defaults are not written, and may be how many there are neither.

    Args:
        config: config.json.
        rows: of the head, where nothing else says that there is one.
    """
    labels = config.values.get("id2label")
    if labels is None:
        count = config.number("num_labels", rows or 2, at_most=_MOST)
        if not count:
            raise ModelError(f"{config.file}: `num_labels` is 0, a number from 1 is needed")
        return {number: f"LABEL_{number}" for number in range(count)}
    if not isinstance(labels, dict) or not labels:
        raise ModelError(f"{config.file}: `id2label` is {labels!r}, an object of numbers and names is needed")
    if set(labels) != {str(number) for number in range(len(labels))}:
        raise ModelError(f"{config.file}: `id2label` has the keys {list(labels)}, 0, 1, … are needed")
    return {number: str(labels[str(number)]) for number in range(len(labels))}


def _states_sparse(modules: Sequence[Module]) -> bool:
    return any(module.name == "SpladePooling" for module in modules)


def _is_splade(config: ModelConfig, architecture: str, asked: Pooling | None, *, states_sparse: bool) -> bool:
    """Raises ModelError: it should be, and cannot."""
    if asked is not Pooling.SPLADE and not (asked is None and states_sparse):
        return False
    if not architecture.endswith("ForMaskedLM"):
        raise ModelError(
            f"{config.file}: splade pooling needs a masked-language head, the architecture is {architecture!r}",
            "supported: architectures that end in ForMaskedLM",
        )
    return True


def _check_ranks(config: ModelConfig, rows: int) -> None:
    """See that late interaction of the states can be meant.

    Raises:
        ModelError: the model was trained to rank in another way.
    """
    if rows:
        raise ModelError(
            f"the weights have a classification head, {config.file} names no architecture that uses it, and the folder "
            "states a pooling: it is not clear which is meant",
            f"a cross-encoder: name its architecture in config.json, as BertForSequenceClassification ({_CLASSIFIES}); "
            "an embedder: serve it with task embed",
        )
