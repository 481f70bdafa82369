"""Pooled vectors and scores equal those computed by hand."""

import numpy as np
import pytest

from embedfleet.engine.compute.pooling import max_sim, normalize, pool
from embedfleet.engine.model.spec import Pooling

STATES = np.array([[1, 2], [3, 4], [5, 9]], dtype=np.float32)


@pytest.mark.parametrize(
    ("pooling", "vector"), [(Pooling.CLS, [1, 2]), (Pooling.LAST_TOKEN, [5, 9]), (Pooling.MEAN, [3, 5])]
)
def test_pooling(pooling, vector):
    pooled = pool(STATES, pooling)
    assert pooled.tolist() == vector
    assert pooled.dtype == np.float32


def test_normalized_rows_are_of_length_one_and_zeros_stay_zeros():
    rows = normalize(np.array([[3, 4], [0, 0]], dtype=np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]], atol=1e-7)
    assert rows.dtype == np.float32


def test_max_sim_is_the_mean_of_each_query_tokens_best_cosine():
    query = np.array([[2, 0], [0, 5]], dtype=np.float32)
    text = np.array([[7, 0], [1, 1], [-1, 0]], dtype=np.float32)
    assert max_sim(query, text) == pytest.approx((1 + 0.5**0.5) / 2, abs=1e-6)


def test_max_sim_lies_between_minus_one_and_one():
    query = np.array([[1, 0]], dtype=np.float32)
    assert max_sim(query, query) == pytest.approx(1)
    assert max_sim(query, -query) == pytest.approx(-1)
