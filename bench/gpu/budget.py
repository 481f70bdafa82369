"""The time that each step of the benchmark may take. Pure."""

from collections.abc import Mapping, Sequence

SHARES: Mapping[str, float] = {
    "families": 3.0,
    "engine": 2.0,
    "sentence-transformers": 2.0,
    "tei": 2.0,
    "replicas": 4.0,
}
"""Share of the whole time of each step, in the order in which they run."""


def limit_s(step: str, steps: Sequence[str], left_s: float) -> float:
    """Time limit of a step: its share of the time that is left, so that time which a step does not use is not lost.

    Args:
        step: Step that begins.
        steps: Steps of the run, in order.
        left_s: Time left for this step and those after it.
    """
    rest = steps[steps.index(step) :]
    return max(0.0, left_s) * SHARES[step] / sum(SHARES[other] for other in rest)
