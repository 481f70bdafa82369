"""How much arithmetic a text is: floating-point operations of its own tokens, padding not counted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a BERT-like model."""

    layers: int
    hidden: int
    intermediate: int

    def flops(self, tokens: int) -> int:
        """Operations of one sequence, a multiplication and an addition as two.

        Per layer and token four matrices of hidden x hidden and two of hidden x intermediate; per layer and pair of
        tokens a score and a share of the values, hidden wide each. What is not a matrix product is left out.
        """
        dense = 8 * self.hidden**2 + 4 * self.hidden * self.intermediate
        return self.layers * (dense * tokens + 4 * self.hidden * tokens**2)


MINILM = Shape(layers=6, hidden=384, intermediate=1536)
WIDE = Shape(layers=4, hidden=1024, intermediate=4096)
BGE_M3 = Shape(layers=24, hidden=1024, intermediate=4096)
