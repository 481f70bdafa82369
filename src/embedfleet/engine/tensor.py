"""One tensor of a model on disk."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import as_strided

from embedfleet.dialects.tei import Floats

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}
"""Bytes of a number, by the types that are read; named as safetensors names them."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor is.

    Attributes:
        dtype: as safetensors names it; one that is not in `SIZES` can be listed but not read.
        start: bytes from the beginning of the file.
        size_bytes: from its first number to its last.
        steps: numbers from one index to the next, per dimension; empty where they lie in order.
    """

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int
    steps: tuple[int, ...] = ()

    @property
    def is_mappable(self) -> bool:
        """Whether the bytes on disk are what the graph computes with, aligned."""
        return self.dtype == "F32" and self.start % 4 == 0 and not self.steps

    def read(self) -> Floats:
        """The tensor in float32, in order: exact of fp16 and bf16, which are subsets of it, rounded of fp64."""
        width = SIZES[self.dtype]
        raw = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}[self.dtype]
        values = np.fromfile(self.file, dtype=raw, count=self.size_bytes // width, offset=self.start)
        if self.dtype == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):  # of fp64, what is too great for float32 is infinite
            floats = values.astype(np.float32, copy=False)
        if self.steps:
            floats = np.ascontiguousarray(as_strided(floats, self.shape, tuple(4 * step for step in self.steps)))
        return floats.reshape(self.shape)


def steps_in_order(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The steps of a tensor whose numbers lie in order, the last dimension fastest."""
    return tuple(prod(shape[place + 1 :]) for place in range(len(shape)))
