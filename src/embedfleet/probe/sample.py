"""Samples: results of models for a fixed text; two replicas run the same model if their samples agree within bounds.

Names are not enough, because a folder may be replaced in place, an image updated, or a prompt or a pooling set at the
start. The bounds allow for float16 (cosine 0.999999 with MiniLM) and bfloat16 (0.99996) against float32, other kernels,
and the tanh approximation of GELU. Another pooling gives a cosine of 0.3 to 0.98, a prompt of one full stop 0.998. int8
gives 0.997, so it counts as another model: its vectors differ as much as those of another prompt.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from embedfleet.dialects.routes import path_of

COSINE, NORM, SCORE, SIMILARITY = 0.9995, 0.01, 0.1, 0.01
"""Least cosine of vectors, largest relative difference of norms, largest differences of scores and of similarities."""

Kind = Literal["vector", "weights", "scores", "similarities"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One model's result for the fixed text.

    Attributes:
        kind: A vector that is not normalised, weights of words, scores before any sigmoid or softmax, or similarities
            of late interaction, which are cosines.
        values: Numbers by index in the vector, by word, by label or by index of the text.
    """

    kind: Kind
    values: Mapping[str, float]

    @classmethod
    def of(cls, path: str, answer: Any, *, is_late: bool = False) -> "Sample":  # noqa: ANN401 - it was checked
        """Read the sample from the reply to a probe.

        Args:
            path: Path of the probe.
            answer: JSON value of the reply, which `is_answer` has accepted.
            is_late: Whether the model ranks by late interaction.
        """
        if path == path_of("embed"):
            return cls("vector", {str(place): float(value) for place, value in enumerate(answer[0])})
        if path == path_of("embed_sparse"):
            return cls("weights", {str(row.get("index")): float(row["value"]) for row in answer[0]})
        kind: Kind = "similarities" if is_late else "scores"
        return cls(kind, {str(row.get("label", row.get("index"))): float(row["score"]) for row in answer})

    @property
    def depends_on_company(self) -> bool:
        """Whether other texts in the batch can change the result: TEI on a CPU counts padding as words for SPLADE."""
        return self.kind == "weights"

    def difference(self, pool: "Sample") -> str:
        """Describe how it differs from the pool's sample; empty if it agrees within the bounds."""
        if self.kind != pool.kind:
            return f"it answers with {self.kind}, the pool with {pool.kind}"
        if self.kind in {"scores", "similarities"}:
            return _score_difference(self.values, pool.values, SCORE if self.kind == "scores" else SIMILARITY)
        own_width, width = len(self.values), len(pool.values)
        if self.kind == "vector" and own_width != width:
            return f"its vector has {own_width} numbers, the pool's {width}"
        return _direction_difference(self.kind, self.values, pool.values)

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Sample":
        """Convert from the JSON values of `to_json`.

        Raises:
            ValueError: The value does not come from `to_json`.
        """
        kind, values = value["kind"], value["values"]
        if kind not in get_args(Kind) or not isinstance(values, dict):
            raise ValueError(f"not a sample: {str(value)[:80]}")
        if not all(isinstance(number, int | float) for number in values.values()):
            raise ValueError("a sample's values are not all numbers")
        return cls(kind, values)


def _score_difference(own: Mapping[str, float], pool: Mapping[str, float], bound: float) -> str:
    if own.keys() != pool.keys():
        return f"it scores {sorted(own)}, the pool {sorted(pool)}"
    most = max((abs(own[place] - pool[place]) for place in own), default=0.0)
    return "" if most <= bound else f"its scores differ from the pool's by {most:.3g}, at most {bound:g} is allowed"


def _direction_difference(what: str, own: Mapping[str, float], pool: Mapping[str, float]) -> str:
    own_norm, norm = math.hypot(*own.values()), math.hypot(*pool.values())
    if abs(own_norm - norm) > NORM * norm:
        return f"the norm of its {what} is {own_norm:.4g}, the pool's is {norm:.4g}"
    if not norm:
        return ""
    cosine = sum(value * pool.get(place, 0.0) for place, value in own.items()) / (own_norm * norm)
    return "" if cosine >= COSINE else f"its {what} and the pool's have a cosine of {cosine:.4f}, under {COSINE:g}"
