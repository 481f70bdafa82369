"""Positions and boundaries of concatenated sequences, which backends need besides the token ids."""

from functools import lru_cache
from typing import Any

import numpy as np

from embedfleet.arrays import Integers

RaggedLayout = dict[str, np.ndarray[Any, Any]]


def ragged_layout(lengths: Integers) -> RaggedLayout:
    """Describe the layout of concatenated sequences.

    A run is a group of neighbouring sequences of equal length.

    Args:
        lengths: Number of tokens of each sequence, [sequences], each at least 1.

    Returns:
        ``places``: position of each token in its sequence, [tokens].
        ``columns``: positions of the longest sequence, [longest].
        ``first`` and ``last``: index of the first and the last token of each sequence, [sequences].
        ``run_shapes``: number of sequences, length, and -1 for each run, [runs, 3]. A graph's Reshape replaces the -1
        by the width.
        ``run_starts`` and ``run_ends``: index of each run's first token, and of the token after its last, [runs, 1].
        ``uniform``: whether there is only one run, a scalar.
    """
    if len(lengths) == 1:
        return _single(int(lengths[0])).copy()
    starts = np.cumsum(lengths) - lengths
    begins = np.flatnonzero(np.diff(lengths, prepend=0))  # no length is 0, so the first sequence begins a run
    counts, run_lengths = np.diff(begins, append=len(lengths)), lengths[begins]
    run_starts = starts[begins].reshape(-1, 1)
    return {
        "places": np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts, lengths),
        "columns": np.arange(int(lengths.max()), dtype=np.int64),
        "first": starts,
        "last": starts + lengths - 1,
        "run_shapes": np.stack([counts, run_lengths, np.full_like(counts, -1)], axis=1),
        "run_starts": run_starts,
        "run_ends": run_starts + (counts * run_lengths).reshape(-1, 1),
        "uniform": np.array(len(begins) == 1),
    }


@lru_cache(64)
def _single(tokens: int) -> RaggedLayout:
    """Layout of a single sequence, in fewer steps; all callers share its arrays, so none writes to them."""
    places = np.arange(tokens, dtype=np.int64)
    return {
        "places": places,
        "columns": places,
        "first": np.zeros(1, dtype=np.int64),
        "last": places[-1:],
        "run_shapes": np.array([[1, tokens, -1]]),
        "run_starts": np.zeros((1, 1), dtype=np.int64),
        "run_ends": np.array([[tokens]]),
        "uniform": np.array(True),
    }
