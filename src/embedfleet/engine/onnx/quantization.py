"""The quantization of weights to int8."""

from typing import Any

import numpy as np

from embedfleet.arrays import Floats

LARGEST = 127
"""The largest quantized value; -128 is unused, so that the range is symmetric."""

Bytes = np.ndarray[Any, np.dtype[np.int8]]


def quantize(weight: Floats) -> tuple[Bytes, Floats]:
    """Quantize a matrix, with one step per output.

    Args:
        weight: Matrix, [out, in].

    Returns:
        Integers from -127 to 127, [in, out], and the steps, [out]; their product is about ``weight.T``. A row that is
        not finite gets a step that is not finite, and so do the results computed with it.
    """
    with np.errstate(invalid="ignore"):
        steps = np.abs(weight).max(axis=1) / np.float32(LARGEST)
        whole = np.rint(weight / np.where(steps > 0, steps, np.float32(1))[:, None])
        # A denormal step is rounded itself, so a quotient may exceed 127.
        bounded = np.clip(np.nan_to_num(whole), -LARGEST, LARGEST)
        return np.ascontiguousarray(bounded.T.astype(np.int8)), steps
