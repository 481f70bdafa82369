"""Grids of sequences of similar length, for attention that needs tensors with one row per sequence. Pure."""

from dataclasses import dataclass

import numpy as np

from embedfleet.arrays import Integers

_SHORTEST = 16


@dataclass(frozen=True, slots=True)
class Grid:
    """Sequences side by side, each padded to one length.

    Attributes:
        sequences: Number of sequences.
        length: Number of tokens of a row.
        lengths: Own length of each sequence, [sequences].
        tokens: Index of the batch's token at each place, row by row, [sequences x length]. Padding has the index of the
            sequence's last token.
    """

    sequences: int
    length: int
    lengths: Integers
    tokens: Integers

    @property
    def is_full(self) -> bool:
        """Whether it has no padding."""
        return bool((self.lengths == self.length).all())


@dataclass(frozen=True, slots=True)
class Grids:
    """All sequences of a batch in grids.

    Attributes:
        grids: Grids, shortest rows first.
        order: Place of each of the batch's tokens in the concatenated grids, [tokens].
    """

    grids: tuple[Grid, ...]
    order: Integers


def exact_length(lengths: Integers) -> Integers:
    """Pad nothing: each length has a grid of its own, which suits a CPU."""
    return lengths


def power_of_two(lengths: Integers) -> Integers:
    """Pad to powers of two, so that the number of grids does not grow with the number of lengths, which suits a GPU."""
    powers: Integers = np.maximum(_SHORTEST, 1 << np.ceil(np.log2(lengths)).astype(np.int64))
    return powers


def make_grids(lengths: Integers, padded: Integers) -> Grids:
    """Place a batch's sequences in grids.

    Args:
        lengths: Number of tokens of each sequence, [sequences].
        padded: Length of the row of each sequence, [sequences].
    """
    starts = np.cumsum(lengths) - lengths
    order = np.empty(int(lengths.sum()), np.int64)
    grids, before = [], 0
    for length in np.unique(padded):
        members = padded == length
        own, columns = lengths[members], np.arange(length)
        places = starts[members][:, None] + np.minimum(columns, own[:, None] - 1)
        is_real = (columns < own[:, None]).reshape(-1)
        tokens = places.reshape(-1)
        order[tokens[is_real]] = before + np.flatnonzero(is_real)
        grids.append(Grid(len(own), int(length), own, tokens))
        before += len(tokens)
    return Grids(tuple(grids), order)
