"""Where the tokens of a batch stand: what a graph is told beside their ids."""

from typing import Any

import numpy as np

from embedfleet.arrays import Integers

Layout = dict[str, np.ndarray[Any, Any]]


def layout(lengths: Integers) -> Layout:
    """Of sequences laid end to end.

    Args:
        lengths: tokens of each sequence, [sequences]; none is 0.

    Returns:
        ``places``, each token's place in its sequence: [tokens].
        ``columns``, those of the longest sequence: [longest].
        ``first`` and ``last``, the tokens that begin and end each sequence: [sequences].
        ``run_shapes``, of the runs, neighbours of one length, how many sequences, of what length, and -1, which is what
        a graph's reshaping puts the width for: [runs, 3].
        ``run_starts`` and ``run_ends``, the token that begins each run and the one after its last: [runs, 1].
        ``uniform``, whether there is one run: a scalar.
    """
    if len(lengths) == 1:
        return _of_one(int(lengths[0]))
    starts = np.cumsum(lengths) - lengths
    begins = np.flatnonzero(np.diff(lengths, prepend=0))  # no length is 0, so the first begins a run
    counts, of_length = np.diff(begins, append=len(lengths)), lengths[begins]
    run_starts = starts[begins].reshape(-1, 1)
    return {
        "places": np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts, lengths),
        "columns": np.arange(int(lengths.max()), dtype=np.int64),
        "first": starts,
        "last": starts + lengths - 1,
        "run_shapes": np.stack([counts, of_length, np.full_like(counts, -1)], axis=1),
        "run_starts": run_starts,
        "run_ends": run_starts + (counts * of_length).reshape(-1, 1),
        "uniform": np.array(len(begins) == 1),
    }


def _of_one(tokens: int) -> Layout:
    """Of a lone sequence, at a fifth of the cost."""
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
