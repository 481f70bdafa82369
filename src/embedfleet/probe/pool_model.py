"""The one model that all replicas of a pool must run. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from embedfleet.probe.fingerprint import Fingerprint
from embedfleet.probe.sample import Sample

CHANGE_ALLOWED_S = 600.0
"""Seconds for which an operator's permission to change the model is valid."""
HINT = (
    "start it with the pool's model; or, to change the whole pool to this one: `embedfleet up --new-model`, or POST"
    " /new-model to the gateway's admin socket"
)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The identity of a replica's model: its description in ``/info``, and its result for a fixed text.

    Attributes:
        fingerprint: Description in ``/info``.
        sample: Result for a fixed text.
    """

    fingerprint: Fingerprint
    sample: Sample

    def difference(self, pool: "ModelIdentity") -> str:
        """Describe how the model differs from the pool's; empty if it is the same."""
        return self.fingerprint.difference(pool.fingerprint) or self.sample.difference(pool.sample)

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values for `from_json`."""
        return {"fingerprint": asdict(self.fingerprint), "sample": self.sample.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ModelIdentity":
        """Convert from the JSON values of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: The value does not come from `to_json`.
        """
        words = value["fingerprint"]
        if not all(isinstance(word, str) for word in words.values()):
            raise ValueError("a fingerprint's fields are not all texts")
        return cls(Fingerprint(**words), Sample.from_json(value["sample"]))


class PoolModel:
    """The pool's model, set by the first replica that infers and kept until an operator permits a change.

    Attributes:
        model: Identity of the model; None until a replica has inferred.
    """

    def __init__(self) -> None:
        self.model: ModelIdentity | None = None
        self._until = -inf

    def allow_change(self, now: float) -> None:
        """Let the next replica with another model change the pool's, for `CHANGE_ALLOWED_S` seconds."""
        self._until = now + CHANGE_ALLOWED_S

    def may_change(self, now: float) -> bool:
        """Whether an operator's permission is still valid."""
        return now < self._until

    def difference(self, own: ModelIdentity) -> str:
        """Describe how a replica's model differs from the pool's; empty if it does not, or the pool has none yet."""
        return "" if self.model is None else own.difference(self.model)

    def refusal(self, own: ModelIdentity, now: float) -> str:
        """Say why a replica may not serve; empty if it may, also as the first one with a new model."""
        return "" if self.may_change(now) else self.difference(own)

    def admit(self, own: ModelIdentity, now: float) -> str:
        """Say why a replica may not serve; if it may, set the pool's model to its model and return an empty text."""
        refusal = self.refusal(own, now)
        if not refusal and (self.model is None or self.difference(own)):
            self.model, self._until = own, -inf
        return refusal
