"""Pooling of token states to vectors, normalisation and scores, in numpy."""

from typing import Any

import numpy as np

from embedfleet.arrays import Floats
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.errors import Backend

# Range of squared lengths of vectors that are exact in float32. Outside this range, lengths are computed in float64.
_LEAST_SQUARE, _GREATEST_SQUARE = 1e-30, 1e37
_NO_DIRECTION = (
    "Backend error: the model's vector, or the part that `dimensions` keeps, is zero: it has no direction and cannot "
    "be normalised to length 1; set `normalize` to false to get it unchanged"
)


def pool(states: Floats, pooling: Pooling, skipped: int = 0) -> Floats:
    """Pool one sequence's token states to one vector.

    Args:
        states: States of at least one token, special tokens included, [tokens, hidden].
        pooling: Kind of pooling.
        skipped: Number of leading tokens to leave out, fewer than all: those of a prompt. The others keep their
            positions.

    Returns:
        Vector, [hidden].

    Raises:
        ValueError: The pooling is SPLADE, which pools word logits (`splade`).
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
            positions = np.arange(skipped + 1, skipped + len(states) + 1, dtype=np.float32)
            vector = positions @ states / positions.sum()
        case Pooling.SPLADE:
            raise ValueError("SPLADE pools word logits")
    return vector


def splade(logits: Floats, first: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
    """Weight of each vocabulary word: the maximum over a sequence's tokens of log(1 + relu(logit)).

    Formal et al. 2021, "SPLADE v2", section 3. The logarithm is monotonic, so it is applied last, to one row per
    sequence.

    Args:
        logits: Word logits of concatenated sequences, [tokens, vocabulary].
        first: Index of each sequence's first token, [sequences].

    Returns:
        Weights, [sequences, vocabulary].
    """
    greatest: Floats = np.maximum.reduceat(logits, first, axis=0)
    weights: Floats = np.log1p(np.maximum(greatest, np.float32(0)))
    return weights


def words_of(weights: Floats) -> dict[int, float]:
    """Map the index of each word with a weight other than 0 to its weight.

    Args:
        weights: Weight of each word, [vocabulary].
    """
    indices = np.flatnonzero(weights)
    return dict(zip(indices.tolist(), weights[indices], strict=True))


def normalize(vectors: Floats) -> Floats:
    """Scale rows to L2 norm 1, however small or large their numbers; a row of zeros is unchanged.

    Args:
        vectors: Finite rows, [..., hidden].
    """
    return _normalized(vectors)[0]


def unit(vectors: Floats) -> Floats:
    """Scale rows to L2 norm 1, as `normalize` does, but refuse rows of zeros.

    Raises:
        errors.Backend: A row is zero.
    """
    rows, has_zero = _normalized(vectors)
    if has_zero:
        raise Backend(_NO_DIRECTION)
    return rows


def _normalized(vectors: Floats) -> tuple[Floats, bool]:
    """Scale rows to L2 norm 1; returns them, and whether one of them is zero."""
    # This is np.linalg.norm without its Python code, which each forward pass evicts from the processor's cache.
    with np.errstate(over="ignore"):
        squares: Floats = np.add.reduce(vectors * vectors, axis=-1, keepdims=True)
    if squares.size == 1:
        least = greatest = squares.item()
    elif squares.size:
        least, greatest = np.minimum.reduce(squares, axis=None), np.maximum.reduce(squares, axis=None)
    else:
        return vectors, False
    if least > _LEAST_SQUARE and greatest < _GREATEST_SQUARE:
        roots: Floats = np.sqrt(squares)
        rows: Floats = vectors / roots
        return rows, False
    lengths = np.sqrt(np.einsum("...i,...i->...", vectors, vectors, dtype=np.float64))[..., None]
    is_zero = lengths == 0
    exact = np.empty_like(vectors)
    np.divide(vectors, np.where(is_zero, 1.0, lengths), out=exact, casting="same_kind")
    return exact, bool(is_zero.any())


def max_sim(query: Floats, text: Floats) -> np.float32:
    """Late interaction: the mean over query tokens of the largest cosine with a text token, from -1 to 1.

    ColBERT (Khattab and Zaharia 2020) takes the sum; the mean does not depend on the query's length. If the query or
    the text has no tokens, the score is -1.

    Args:
        query: States of the query's tokens, [query tokens, hidden].
        text: States of the text's tokens, [text tokens, hidden].
    """
    if not len(query) or not len(text):
        return np.float32(-1)
    cosines = normalize(query) @ normalize(text).T
    return np.float32(cosines.max(axis=1).mean())


def sigmoid(logits: Floats) -> Floats:
    """Compute 1 / (1 + exp(-x)) for each number, without overflow."""
    positive: Floats = np.float32(1) / (np.float32(1) + np.exp(-np.abs(logits)))
    return np.where(logits >= 0, positive, np.float32(1) - positive).astype(np.float32)


def probabilities(logits: Floats) -> Floats:
    """Probabilities of classes: sigmoid for one class, softmax for more.

    Args:
        logits: Logit of each class, [classes].
    """
    if len(logits) == 1:
        return sigmoid(logits)
    exponentials: Floats = np.exp(logits - logits.max())
    shares: Floats = exponentials / exponentials.sum()
    return shares
