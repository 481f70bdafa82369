"""The fingerprint of a model, which is read from ``/info`` and compared between the replicas of a pool."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import orjson

# Fields that may be empty on one side: for a model in a folder, neither our engine nor TEI states a revision.
_MAY_BE_EMPTY = frozenset({"revision"})


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Properties of a model that must be equal in a pool, because clients would otherwise get incompatible vectors.

    The number format of the weights is left out: float16 and float32 are the same model. `Sample` compares the values.

    Attributes:
        model: Name of the model without parent folders, which differ between hosts and containers.
        revision: Revision on the hub; empty if unknown.
        task: Key of ``model_type`` in ``/info``: embedding, reranker or classifier.
        pooling: Pooling; empty if the model has none.
        labels: Labels of a classifier, as JSON with sorted keys.
    """

    model: str
    revision: str
    task: str
    pooling: str
    labels: str

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "Fingerprint":
        """Read the fingerprint from TEI's ``/info``."""
        model = str(info.get("model_id") or "").rstrip("/").rpartition("/")[2]
        kinds = info.get("model_type") or {}
        task = next(iter(kinds), "")
        kind = kinds.get(task)
        kind = kind if isinstance(kind, dict) else {}
        labels = orjson.dumps(kind.get("id2label") or {}, option=orjson.OPT_SORT_KEYS).decode()
        return cls(model, str(info.get("model_sha") or ""), task, str(kind.get("pooling") or ""), labels)

    def difference(self, pool: "Fingerprint") -> str:
        """Describe the fields that differ from the pool's fingerprint; empty if none does."""
        told = [(field.name, getattr(self, field.name), getattr(pool, field.name)) for field in fields(self)]
        return "; ".join(
            f"{name} is {own!r}, the pool's is {wanted!r}"
            for name, own, wanted in told
            if own != wanted and not (name in _MAY_BE_EMPTY and "" in {own, wanted})
        )
