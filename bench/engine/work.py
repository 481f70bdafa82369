"""Floating-point operations of a text's own tokens, without padding."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a BERT-like model."""

    layers: int
    hidden: int
    intermediate: int

    def flops(self, tokens: int) -> int:
        """Operations of one sequence; a multiplication and an addition count as two.

        Per layer and token there are four matrices of hidden x hidden and two of hidden x intermediate; per layer and
        pair of tokens a score and a share of the values, each of the hidden width. Only matrix products count.
        """
        dense = 8 * self.hidden**2 + 4 * self.hidden * self.intermediate
        return self.layers * (dense * tokens + 4 * self.hidden * tokens**2)


MINILM = Shape(layers=6, hidden=384, intermediate=1536)
WIDE = Shape(layers=4, hidden=1024, intermediate=4096)
BGE_M3 = Shape(layers=24, hidden=1024, intermediate=4096)
