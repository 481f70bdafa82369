"""Apportioning of a count, such as tokens, among the texts that it was counted for together."""

from collections.abc import Sequence


def apportioned(total: int, shares: Sequence[int]) -> list[int]:
    """Make integers with the sum ``total`` that are nearly proportional to ``shares``."""
    whole = sum(shares)
    numbers, before, seen = [], 0, 0
    for share in shares:
        seen += share
        upto = round(total * seen / whole) if whole else 0
        numbers.append(upto - before)
        before = upto
    return numbers
