"""Shapes of a pass, and the numbers that a pass reads, as one array of a fixed size. Pure.

A recorded pass (`recorded_passes`) can only be run again with tensors of the same sizes. So a batch is padded to the
next of a few shapes: its last tokens form sequences of their own, whose results are cut off. No sequence of the batch
gets a longer or another neighbour, so its results do not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedfleet.arrays import Integers
from embedfleet.engine.compute.ragged_batch import ragged_layout

_FEWEST_TOKENS = 64
_STEPS = 4  # shapes between a power of two and the next
_SEQUENCES, _TOKENS_PER_SEQUENCE = 128, 8  # most sequences of a batch, as in `batching.choosing`


@dataclass(frozen=True, slots=True)
class PassShape:
    """Sizes of the tensors of a pass.

    Attributes:
        tokens: Number of tokens.
        sequences: Number of sequences, those without tokens included.
        longest: Largest number of tokens of one sequence.
    """

    tokens: int
    sequences: int
    longest: int

    @classmethod
    def of(cls, lengths: Integers) -> "PassShape":
        """The shape of a batch without padding."""
        return cls(int(lengths.sum()), len(lengths), int(lengths.max()))

    @property
    def sections(self) -> tuple[int, ...]:
        """Sizes of the sections of `pack`'s array."""
        return (self.tokens, self.tokens, self.tokens, *(self.sequences,) * 3, self.sequences + 1)


def fixed_shapes(most_tokens: int, longest: int) -> tuple[PassShape, ...]:
    """The shapes to record, smallest first: at most a quarter more tokens from one to the next.

    Each has room for as many sequences as a batch of its size may have, and for those of the padding.

    Args:
        most_tokens: Number of tokens of the largest shape.
        longest: Largest number of tokens of one sequence.
    """
    counts, base = [], _FEWEST_TOKENS
    while base <= most_tokens:
        counts += [base + base * step // _STEPS for step in range(_STEPS)]
        base *= 2
    return tuple(
        PassShape(count, _most_sequences(count) + -(-count // min(count, longest)), min(count, longest))
        for count in counts
        if count <= most_tokens
    )


def _most_sequences(tokens: int) -> int:
    return min(tokens, max(_SEQUENCES, tokens // _TOKENS_PER_SEQUENCE))


def find_shape(shapes: Sequence[PassShape], lengths: Integers) -> PassShape | None:
    """Find the smallest shape that holds a batch; None if no shape does.

    Args:
        shapes: Shapes, smallest first.
        lengths: Number of tokens of each sequence, [sequences].
    """
    needed = PassShape.of(lengths)
    for shape in shapes:
        is_held = needed.longest <= shape.longest and needed.tokens <= shape.tokens
        if is_held and needed.sequences + _pieces(shape, needed.tokens) <= shape.sequences:
            return shape
    return None


def pack(ids: Integers, types: Integers, lengths: Integers, shape: PassShape) -> Integers:
    """Join all numbers that a pass reads, so that one copy brings them to a device.

    Args:
        ids: Token ids of all sequences, [tokens].
        types: Token types, [tokens].
        lengths: Number of tokens of each sequence, [sequences], each at least 1.
        shape: Shape that holds the batch.

    Returns:
        The sections of `PassShape.sections`: ids, types and places of the tokens; first token, last token and length
        of each sequence; and the boundaries of the sequences, which begin with 0. Padding is made of tokens with id 0.
    """
    padded, layout = _padded(lengths, shape), ragged_layout(lengths)
    if len(padded) > len(lengths):
        layout = ragged_layout(padded[padded > 0])
    ends = np.cumsum(padded)
    missing = shape.tokens - len(ids)
    nothing = np.zeros(missing, np.int64)
    return np.concatenate(
        [
            *(ids, nothing, types, nothing, layout["places"]),
            np.minimum(ends - padded, shape.tokens - 1),  # a sequence without tokens has no first one
            np.maximum(ends - 1, 0),
            *(padded, [0], ends),
        ]
    )


def _padded(lengths: Integers, shape: PassShape) -> Integers:
    """The lengths of all sequences of a shape: those of the batch, those of the padding, and zeros."""
    missing = shape.tokens - int(lengths.sum())
    count = _pieces(shape, int(lengths.sum()))
    pieces = np.full(count, shape.longest, np.int64)
    if count:
        pieces[-1] = missing - (count - 1) * shape.longest
    rest = np.zeros(shape.sequences - len(lengths) - count, np.int64)
    return np.concatenate([lengths, pieces, rest])


def _pieces(shape: PassShape, tokens: int) -> int:
    """Number of sequences that the padding of a batch takes."""
    return -(-(shape.tokens - tokens) // shape.longest)
