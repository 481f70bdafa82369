"""Where the tokens of a batch stand: what a graph is told beside their ids."""

from typing import Any

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]
Layout = dict[str, np.ndarray[Any, Any]]


def layout(lengths: Integers) -> Layout:
    """Of sequences laid end to end.

    Args:
        lengths: tokens of each sequence, [sequences]; none is 0.

    Returns:
        ``places``, each token's place in its sequence, and ``back``, its place in the grid laid flat: [tokens].
        ``grid``, the token that stands there, and ``mask``, whether one does: [sequences, longest].
        ``columns``, the grid's, counted: [longest].
        ``first`` and ``last``, the tokens that begin and end each sequence: [sequences].
        ``uniform``, whether all are of one length: a scalar.
    """
    if len(lengths) == 1:
        return _of_one(int(lengths[0]))
    count, longest = len(lengths), int(lengths.max())
    starts = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts, lengths)
    columns = np.arange(longest, dtype=np.int64)
    mask = columns < lengths[:, None]
    return {
        "places": places,
        "back": np.repeat(np.arange(count, dtype=np.int64) * longest, lengths) + places,
        "grid": np.where(mask, starts[:, None] + columns, 0),
        "mask": mask.astype(np.int32),
        "columns": columns,
        "first": starts,
        "last": starts + lengths - 1,
        "uniform": np.array(bool(mask.all())),
    }


def _of_one(tokens: int) -> Layout:
    """Of a lone sequence, at a fifth of the cost."""
    places = np.arange(tokens, dtype=np.int64)
    return {
        "places": places,
        "back": places,
        "grid": places[None],
        "mask": np.ones((1, tokens), dtype=np.int32),
        "columns": places,
        "first": np.zeros(1, dtype=np.int64),
        "last": places[-1:],
        "uniform": np.array(True),
    }
