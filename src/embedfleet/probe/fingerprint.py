"""What a replica says of its model, and whether that is what another says."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import orjson

# What may be empty is then not told: an engine that loads a folder knows no revision, TEI does not either.
_MAY_BE_UNTOLD = frozenset({"revision"})


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What replicas of one pool must agree on, or clients would get vectors of different spaces.

    The type of the weights is not in it: float16 beside float32 is the same model, and what it computes tells.

    Attributes:
        model: the model's name without the folders before it, which differ between hosts and containers.
    """

    model: str
    revision: str
    task: str
    pooling: str
    labels: str

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "Fingerprint":
        """From TEI's ``/info``."""
        model = str(info.get("model_id") or "").rstrip("/").rpartition("/")[2]
        kinds = info.get("model_type") or {}
        task = next(iter(kinds), "")
        kind = kinds.get(task)
        kind = kind if isinstance(kind, dict) else {}
        labels = orjson.dumps(kind.get("id2label") or {}, option=orjson.OPT_SORT_KEYS).decode()
        return cls(model, str(info.get("model_sha") or ""), task, str(kind.get("pooling") or ""), labels)

    def difference(self, pool: "Fingerprint") -> str:
        """In which fields it is not the pool's, in words; empty if in none."""
        told = [(field.name, getattr(self, field.name), getattr(pool, field.name)) for field in fields(self)]
        return "; ".join(
            f"{name} is {own!r}, the pool's is {wanted!r}"
            for name, own, wanted in told
            if own != wanted and not (name in _MAY_BE_UNTOLD and "" in {own, wanted})
        )
