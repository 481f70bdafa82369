"""What bge-m3 gives besides its dense vector: a weight for each token and a vector for each token.

Chen et al. 2024, "M3-Embedding", section 3.2; in numbers as FlagEmbedding 1.4 computes them
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
    """The greatest weight of each token id that is above 0, in the order of the ids.

    Args:
        weights: [tokens, 1], none below 0.
        ids: [tokens].
        unused: that have no weight.
    """
    found: dict[int, float] = {}
    for token, weight in sorted(zip(ids, weights[:, 0], strict=True)):
        if weight > 0 and token not in unused:
            found[int(token)] = weight  # of equal ids the greatest comes last
    return found


def colbert_vectors(rows: Floats) -> Floats:
    """The vectors of all tokens but the first, each of length one.

    Args:
        rows: [tokens, dimensions].

    Raises:
        errors.Backend: one is zero, which has no direction.
    """
    return unit(rows[1:])


def score(query: Encoding, text: Encoding, scoring: Scoring) -> np.float32:
    """The weighted mean of what dense, lexical and late interaction say of a text.

    Args:
        query: with what ``scoring`` asks for.
        text: likewise.
        scoring: the weights.

    Raises:
        errors.Backend: it is greater than a float32 can be.
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
        raise Backend(f"Backend error: the score is {found:.3g}, which no float32 is")
    return np.float32(found)


def _lexical_score(query: Mapping[int, float], text: Mapping[int, float]) -> float:
    """The products of the weights of the tokens that both have."""
    return float(sum(weight * text[token] for token, weight in query.items() if token in text))


def _late_interaction(query: Floats, text: Floats) -> float:
    """As `max_sim`; 0 where one has no token but the first."""
    return float(max_sim(query, text)) if len(query) and len(text) else 0.0
