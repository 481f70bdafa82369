"""From token states to vectors and scores, in numpy."""

import numpy as np

from embedfleet.dialects.tei import Floats
from embedfleet.engine.model import Pooling


def pool(states: Floats, pooling: Pooling) -> Floats:
    """One vector of one sequence's token states.

    Args:
        states: [tokens, hidden], special tokens included, at least one token.
        pooling: which tokens count.

    Returns:
        [hidden].
    """
    match pooling:
        case Pooling.CLS:
            vector: Floats = states[0]
        case Pooling.LAST_TOKEN:
            vector = states[-1]
        case Pooling.MEAN:
            vector = np.add.reduce(states, axis=0, dtype=np.float32) / np.float32(len(states))
    return vector


def normalize(vectors: Floats) -> Floats:
    """Rows of length one (L2); a row of zeros stays as it is.

    Args:
        vectors: [..., hidden].
    """
    # What np.linalg.norm computes, without the Python around it: after a forward pass no code is in the cache.
    squares: Floats = np.add.reduce(vectors * vectors, axis=-1, keepdims=True)
    lengths: Floats = np.maximum(np.sqrt(squares), np.float32(1e-12))
    rows: Floats = vectors / lengths
    return rows


def max_sim(query: Floats, text: Floats) -> np.float32:
    """Late interaction: the mean over the query's tokens of the best cosine with a token of the text, -1 to 1.

    ColBERT (Khattab and Zaharia 2020) sums; the mean keeps the range whatever the query's length.

    Args:
        query: [query tokens, hidden].
        text: [text tokens, hidden].
    """
    cosines = normalize(query) @ normalize(text).T
    return np.float32(cosines.max(axis=1).mean())
