"""Numbers as bytes."""

from typing import Any

import numpy as np

from embedfleet.arrays import Floats

LARGEST = 127
"""Of a signed byte; -128 is not used, so that what is quantized is symmetric."""

Bytes = np.ndarray[Any, np.dtype[np.int8]]


def quantize(weight: Floats) -> tuple[Bytes, Floats]:
    """A matrix as bytes, each output with a step of its own.

    Args:
        weight: [out, in].

    Returns:
        Whole numbers -127 to 127, [in, out], and the steps, [out]: ``weight.T`` is about the one times the other. Of
        a row that is not finite the step is not either, nor then what is computed with it.
    """
    with np.errstate(invalid="ignore"):
        steps = np.abs(weight).max(axis=1) / np.float32(LARGEST)
        whole = np.rint(weight / np.where(steps > 0, steps, np.float32(1))[:, None])
        bounded = np.clip(np.nan_to_num(whole), -LARGEST, LARGEST)  # a step of denormal numbers is rounded itself
        return np.ascontiguousarray(bounded.T.astype(np.int8)), steps
