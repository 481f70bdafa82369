"""What a replica is told to do wrong, pure."""

from dataclasses import dataclass
from typing import Literal, get_args

Answer = Literal["429", "500", "424", "garbage", "short", "nulls"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
FAULTS = ("stall", "hang", "slow", "refuse", "crash", "answer", "heal")


@dataclass(frozen=True, slots=True)
class Fault:
    """One order.

    Attributes:
        kind: of `FAULTS`. ``stall``: stand still for ``seconds``; ``hang``: until ``heal``; ``slow``: batches take
            ``factor`` times as long; ``refuse``: accept no connection, close those that are idle, finish the rest;
            ``crash``: reset all, lose all, refuse for ``seconds``; ``answer``: the next ``count`` calls get
            ``answer``; ``heal``: end all of these.
        seconds: 0 for until ``heal``, where that makes sense.
        answer: 429, 500 and 424 are statuses; ``garbage`` is no JSON, ``short`` has one item too few, ``nulls`` has
            null for every number, and all three are 200.
    """

    kind: str
    seconds: float = 0.0
    factor: float = 1.0
    answer: Answer = "429"
    count: int = 1


def parse_fault(fields: dict[str, object]) -> Fault:
    """An order as JSON has it.

    Raises:
        ValueError: it is none; the message says why.
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
    """How many of the next calls get a wrong answer, and which."""

    def __init__(self) -> None:
        self._answer: Answer = "429"
        self._left = 0

    def set(self, answer: Answer, count: int) -> None:
        """From now on; what was set before is forgotten."""
        self._answer, self._left = answer, count

    def take(self) -> Answer | None:
        """For the call that has just come; None for the right one."""
        if self._left == 0:
            return None
        self._left -= 1
        return self._answer
