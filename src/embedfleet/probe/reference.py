"""The model that all replicas of a pool must be. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from embedfleet.probe.fingerprint import Fingerprint
from embedfleet.probe.sample import Sample

WORD_S = 600.0
"""How long an operator's word holds that the model may change."""
HINT = (
    "start it with the pool's model; or, if the whole pool is to have this one: `embedfleet up --new-model`, or POST"
    " /new-model to the gateway's admin socket"
)


@dataclass(frozen=True, slots=True)
class Model:
    """What a replica says that it is, and what it computes."""

    fingerprint: Fingerprint
    sample: Sample

    def difference(self, pool: "Model") -> str:
        """In what it is not the pool's, in words; empty if it is."""
        return self.fingerprint.difference(pool.fingerprint) or self.sample.difference(pool.sample)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {"fingerprint": asdict(self.fingerprint), "sample": self.sample.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Model":
        """What `to_json` gave.

        Raises:
            ValueError: it is something else; KeyError, TypeError: likewise.
        """
        words = value["fingerprint"]
        if not all(isinstance(word, str) for word in words.values()):
            raise ValueError("a fingerprint's fields are not all texts")
        return cls(Fingerprint(**words), Sample.from_json(value["sample"]))


class Reference:
    """The first replica that infers sets it; it stays, though none serves, until an operator says that it may change.

    Attributes:
        model: None before any replica has inferred.
    """

    def __init__(self) -> None:
        self.model: Model | None = None
        self._until = -inf

    def allow_change(self, now: float) -> None:
        """The next replica of another model may change it: an operator's word, which holds for `WORD_S` seconds."""
        self._until = now + WORD_S

    def may_change(self, now: float) -> bool:
        """Whether an operator's word holds."""
        return now < self._until

    def difference(self, own: Model) -> str:
        """In what a replica is not the pool's model, in words; empty if it is, or there is none yet."""
        return "" if self.model is None else own.difference(self.model)

    def refusal(self, own: Model, now: float) -> str:
        """Why a replica may not serve; empty if it may, though it be as the first of a new model."""
        return "" if self.may_change(now) else self.difference(own)

    def admit(self, own: Model, now: float) -> str:
        """A replica is about to serve: why it may not, see `refusal`. If it may, its model is the pool's."""
        refusal = self.refusal(own, now)
        if not refusal and (self.model is None or self.difference(own)):
            self.model, self._until = own, -inf
        return refusal
