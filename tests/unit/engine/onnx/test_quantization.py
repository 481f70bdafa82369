"""The quantization of weights: each number within half a step, symmetric, and row by row."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedfleet.engine.onnx.quantization import LARGEST, quantize


@given(arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32)))
@example(np.full((5, 7), 8.775e-42, np.float32))
def test_every_number_is_within_half_a_step_and_symmetric(weight):
    whole, steps = quantize(weight)
    assert whole.dtype == np.int8
    assert np.abs(whole.astype(int)).max(initial=0) <= LARGEST
    assert (np.abs(whole.T * steps[:, None] - weight) <= 0.501 * steps[:, None] + 1e-30).all()
    np.testing.assert_array_equal(quantize(-weight)[0], -whole)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_only_the_row_that_is_not_finite_has_such_a_step(odd):
    weight = np.ones((3, 4), np.float32)
    weight[1, 2] = odd
    steps = quantize(weight)[1]
    assert np.isfinite(steps).tolist() == [True, False, True]
