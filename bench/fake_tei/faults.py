"""Faults that a fake replica commits on request. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args

Answer = Literal["429", "500", "424", "garbage", "short", "nulls"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
FAULTS = ("stall", "hang", "slow", "refuse", "crash", "answer", "heal")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: One of `FAULTS`. ``stall``: stand still for ``seconds``; ``hang``: stand still until ``heal``; ``slow``:
            batches take ``factor`` times as long; ``refuse``: accept no connection, close idle ones, finish the rest;
            ``crash``: reset all connections, lose all work, refuse connections for ``seconds``; ``answer``: answer
            the next ``count`` calls with ``answer``; ``heal``: end all of these.
        seconds: Duration; for ``refuse`` and ``crash``, 0 means until ``heal``.
        answer: A status (429, 500, 424) or a wrong body with status 200: ``garbage`` is not JSON, ``short`` lacks one
            item, ``nulls`` has null for every number.
    """

    kind: str
    seconds: float = 0.0
    factor: float = 1.0
    answer: Answer = "429"
    count: int = 1


def parse_fault(fields: dict[str, object]) -> Fault:
    """Read a fault from JSON.

    Raises:
        ValueError: The JSON is not a fault; the message says why.
    """
    unknown = set(fields) - {"kind", "seconds", "factor", "answer", "count"}
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    kind, answer = str(fields.get("kind")), str(fields.get("answer", "429"))
    if kind not in FAULTS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(FAULTS)}")
    found = [known for known in ANSWERS if known == answer]
    if not found:
        raise ValueError(f"answer {answer!r} is none of {', '.join(ANSWERS)}")
    numbers = {name: float(str(fields.get(name, default))) for name, default in _NUMBERS.items()}
    if min(numbers.values()) < 0 or numbers["factor"] == 0:
        raise ValueError(f"seconds and count are from 0, factor is above 0: {fields}")
    return Fault(kind, numbers["seconds"], numbers["factor"], found[0], int(numbers["count"]))


_NUMBERS = {"seconds": 0.0, "factor": 1.0, "count": 1.0}


class WrongAnswers:
    """A wrong answer, and the number of coming calls that get it."""

    def __init__(self) -> None:
        self._answer: Answer = "429"
        self._left = 0

    def set(self, answer: Answer, count: int) -> None:
        """Set the answer of the next calls, in place of the one set before."""
        self._answer, self._left = answer, count

    def take(self) -> Answer | None:
        """Take the wrong answer for a new call; None for a right answer."""
        if self._left == 0:
            return None
        self._left -= 1
        return self._answer
