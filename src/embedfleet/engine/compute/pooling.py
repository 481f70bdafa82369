"""From token states to vectors and scores, in numpy."""

from typing import Any

import numpy as np

from embedfleet.arrays import Floats
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.errors import Backend

# Between these float32 has room for the squares of a vector's numbers; outside the length is computed in float64.
_LEAST_SQUARE, _GREATEST_SQUARE = 1e-30, 1e37
_NO_DIRECTION = (
    "Backend error: the model's vector is zero in all its numbers, or in all that `dimensions` leaves: it has no "
    "direction and cannot be of length one; `normalize` false gives it as it is"
)


def pool(states: Floats, pooling: Pooling, skipped: int = 0) -> Floats:
    """One vector of one sequence's token states.

    Args:
        states: [tokens, hidden], special tokens included, at least one token.
        pooling: which tokens count.
        skipped: of the first tokens, so many do not, fewer than there are: a prompt's. They keep their places.

    Returns:
        [hidden].

    Raises:
        ValueError: SPLADE does not pool states; see `splade`.
    """
    states = states[skipped:] if skipped else states
    match pooling:
        case Pooling.CLS:
            vector: Floats = states[0]
        case Pooling.LAST_TOKEN:
            vector = states[-1]
        case Pooling.MEAN:
            vector = np.add.reduce(states, axis=0, dtype=np.float32) / np.float32(len(states))
        case Pooling.MAX:
            vector = np.maximum.reduce(states, axis=0)
        case Pooling.MEAN_SQRT_LEN:
            vector = np.add.reduce(states, axis=0, dtype=np.float32) / np.sqrt(np.float32(len(states)))
        case Pooling.WEIGHTED_MEAN:
            places = np.arange(skipped + 1, skipped + len(states) + 1, dtype=np.float32)
            vector = places @ states / places.sum()
        case Pooling.SPLADE:
            raise ValueError("SPLADE pools word logits")
    return vector


def splade(logits: Floats, first: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
    """One weight per word of the vocabulary: log(1 + relu(logit)), the greatest of each sequence's tokens.

    Formal et al. 2021, "SPLADE v2", section 3. The logarithm rises with its argument, so it is taken last, of one row
    per sequence.

    Args:
        logits: of sequences laid end to end, [tokens, vocabulary].
        first: the token that begins each sequence, [sequences].

    Returns:
        [sequences, vocabulary].
    """
    greatest: Floats = np.maximum.reduceat(logits, first, axis=0)
    weights: Floats = np.log1p(np.maximum(greatest, np.float32(0)))
    return weights


def words_of(weights: Floats) -> dict[int, float]:
    """The words that have a weight, by their index.

    Args:
        weights: [vocabulary].
    """
    indices = np.flatnonzero(weights)
    return dict(zip(indices.tolist(), weights[indices], strict=True))


def normalize(vectors: Floats) -> Floats:
    """Rows of length one (L2), however small or great their numbers; a row of zeros stays as it is.

    Args:
        vectors: [..., hidden], finite.
    """
    return _normalized(vectors)[0]


def unit(vectors: Floats) -> Floats:
    """As `normalize`, of rows that must have a direction.

    Raises:
        errors.Backend: a row is zero.
    """
    rows, has_zero = _normalized(vectors)
    if has_zero:
        raise Backend(_NO_DIRECTION)
    return rows


def _normalized(vectors: Floats) -> tuple[Floats, bool]:
    """Rows of length one, and whether one of them is zero instead."""
    # What np.linalg.norm computes, without the Python around it: after a forward pass no code is in the cache.
    with np.errstate(over="ignore"):
        squares: Floats = np.add.reduce(vectors * vectors, axis=-1, keepdims=True)
    if not squares.size or (squares.min() > _LEAST_SQUARE and squares.max() < _GREATEST_SQUARE):
        roots: Floats = np.sqrt(squares)
        rows: Floats = vectors / roots
        return rows, False
    lengths = np.sqrt(np.einsum("...i,...i->...", vectors, vectors, dtype=np.float64))[..., None]
    is_zero = lengths == 0
    exact = np.empty_like(vectors)
    np.divide(vectors, np.where(is_zero, 1.0, lengths), out=exact, casting="same_kind")
    return exact, bool(is_zero.any())


def max_sim(query: Floats, text: Floats) -> np.float32:
    """Late interaction: the mean over the query's tokens of the best cosine with a token of the text, -1 to 1.

    ColBERT (Khattab and Zaharia 2020) sums; the mean keeps the range whatever the query's length. Where one of the two
    has no tokens nothing matches, and the score is the least that there is.

    Args:
        query: [query tokens, hidden].
        text: [text tokens, hidden].
    """
    if not len(query) or not len(text):
        return np.float32(-1)
    cosines = normalize(query) @ normalize(text).T
    return np.float32(cosines.max(axis=1).mean())


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)) of each number, without overflow."""
    positive: Floats = np.float32(1) / (np.float32(1) + np.exp(-np.abs(logits)))
    return np.where(logits >= 0, positive, np.float32(1) - positive).astype(np.float32)


def probabilities(logits: Floats) -> Floats:
    """Sigmoid for one class, softmax for more.

    Args:
        logits: [classes].
    """
    if len(logits) == 1:
        return sigmoid(logits)
    exponentials: Floats = np.exp(logits - logits.max())
    shares: Floats = exponentials / exponentials.sum()
    return shares
