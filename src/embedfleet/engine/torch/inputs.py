"""The numbers of one pass on its device, as tensors."""

from dataclasses import dataclass

from torch import Tensor as Values

from embedfleet.arrays import Integers
from embedfleet.engine.torch.pass_shape import PassShape


@dataclass(frozen=True, slots=True)
class PassInputs:
    """The numbers that a pass reads.

    Attributes:
        ids: Token ids, [tokens].
        types: Token types, [tokens].
        places: Place of each token in its sequence, [tokens].
        first: Index of each sequence's first token, [sequences].
        last: Index of each sequence's last token, [sequences].
        lengths: Number of tokens of each sequence, [sequences].
        boundaries: First token of each sequence, and the number of all tokens, int32, [sequences + 1].
        longest: Upper bound of a sequence's number of tokens.
        known_lengths: The lengths on the host; None if only the shape is known, because the pass is being recorded.
    """

    ids: Values
    types: Values
    places: Values
    first: Values
    last: Values
    lengths: Values
    boundaries: Values
    longest: int
    known_lengths: Integers | None

    @classmethod
    def of(cls, numbers: Values, shape: PassShape, known_lengths: Integers | None) -> "PassInputs":
        """Take the array of `pass_shape.pack` apart, on its device."""
        ids, types, places, first, last, lengths, boundaries = numbers.split_with_sizes(list(shape.sections))
        return cls(ids, types, places, first, last, lengths, boundaries.int(), shape.longest, known_lengths)
