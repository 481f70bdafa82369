"""Types of the two kinds of numpy arrays that layers exchange: float32 values and int64 ids."""

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
