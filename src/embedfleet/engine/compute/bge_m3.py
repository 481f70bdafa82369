"""Lexical weights, ColBERT vectors and combined scores of bge-m3.

Chen et al. 2024, "M3-Embedding", section 3.2; numerically as in FlagEmbedding 1.4
(finetune/embedder/encoder_only/m3/modeling.py, inference/embedder/encoder_only/m3.py).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from embedfleet.arrays import Floats
from embedfleet.dialects.serving.bge_m3 import Encoding, Scoring
from embedfleet.engine.compute.pooling import max_sim, unit
from embedfleet.errors import Backend

_GREATEST = float(np.finfo(np.float32).max)


def lexical_weights(weights: Floats, ids: Sequence[int], unused: frozenset[int]) -> dict[int, float]:
    """Largest weight of each token id, without weights of 0, sorted by id.

    Args:
        weights: Weight of each token, [tokens, 1], not negative.
        ids: Token ids, [tokens].
        unused: Token ids to leave out.
    """
    found: dict[int, float] = {}
    for token, weight in sorted(zip(ids, weights[:, 0], strict=True)):
        if weight > 0 and token not in unused:
            found[int(token)] = weight  # among equal ids, the largest weight comes last
    return found


def colbert_vectors(rows: Floats) -> Floats:
    """Unit vectors of all tokens except the first.

    Args:
        rows: Vector of each token, [tokens, dimensions].

    Raises:
        errors.Backend: A vector is zero and has no direction.
    """
    return unit(rows[1:])


def score(query: Encoding, text: Encoding, scoring: Scoring) -> np.float32:
    """Weighted mean of a text's dense, lexical and late interaction scores.

    Args:
        query: Outputs for the query that ``scoring`` needs.
        text: Outputs for the text that ``scoring`` needs.
        scoring: Weights of the three scores.

    Raises:
        errors.Backend: The score exceeds float32.
    """
    total = 0.0
    if scoring.dense:
        assert query.dense is not None
        assert text.dense is not None
        total += scoring.dense * float(query.dense @ text.dense)
    if scoring.sparse:
        assert query.lexical is not None
        assert text.lexical is not None
        total += scoring.sparse * _lexical_score(query.lexical, text.lexical)
    if scoring.colbert:
        assert query.colbert is not None
        assert text.colbert is not None
        total += scoring.colbert * _late_interaction(query.colbert, text.colbert)
    found = total / scoring.total
    if not abs(found) <= _GREATEST:
        raise Backend(f"Backend error: the score is {found:.3g}, which exceeds float32")
    return np.float32(found)


def _lexical_score(query: Mapping[int, float], text: Mapping[int, float]) -> float:
    """Sum of the products of the weights of common tokens."""
    return float(sum(weight * text[token] for token, weight in query.items() if token in text))


def _late_interaction(query: Floats, text: Floats) -> float:
    """Score of `max_sim`, or 0 if the query or the text has no vectors, since it has at most one token."""
    return float(max_sim(query, text)) if len(query) and len(text) else 0.0
