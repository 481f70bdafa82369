"""One tensor of a model on disk."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedfleet.dialects.tei import Floats

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}
"""Bytes of a number, by the types that are read; named as safetensors names them."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor is; ``start`` counts bytes from the beginning of the file. Its numbers lie in order."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int

    @property
    def is_mappable(self) -> bool:
        """Whether the bytes on disk are what the graph computes with, aligned."""
        return self.dtype == "F32" and self.start % 4 == 0

    def read(self) -> Floats:
        """The tensor in float32: exact of fp16 and bf16, which are subsets of it, rounded of fp64."""
        count = self.size_bytes // SIZES[self.dtype]
        raw = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}[self.dtype]
        values = np.fromfile(self.file, dtype=raw, count=count, offset=self.start)
        if self.dtype == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32, copy=False).reshape(self.shape)
