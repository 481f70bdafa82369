"""A tensor on disk: its location in a file, and the reading of its numbers."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from embedfleet.arrays import Floats
from embedfleet.errors import ModelError

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}
"""Types that are read, in safetensors' naming → bytes per number."""

_RAW = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
_PIECE = 1 << 20  # numbers read at a time, few enough to stay in the processor's cache while they are checked


@dataclass(frozen=True, slots=True)
class Tensor:
    """Location of a tensor in a file.

    Attributes:
        file: File that holds the tensor.
        name: Name of the tensor.
        dtype: Type of its numbers in safetensors' naming. A type that is not in `SIZES` can be listed but not read.
        shape: Shape of the tensor.
        start: Offset of its first number in the file, in bytes.
        size_bytes: Size from its first number through its last, in bytes.
        strides: Count of numbers from one index to the next, per dimension; empty if the tensor is contiguous.
    """

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int
    strides: tuple[int, ...] = ()

    def row(self, number: int) -> "Tensor":
        """One row of a matrix, as a tensor [1, columns] of the same file."""
        width, (across, along) = SIZES[self.dtype], self._matrix_strides()
        numbers = 1 + along * (self.shape[1] - 1)
        return replace(
            self,
            name=f"{self.name}[{number}]",
            shape=(1, self.shape[1]),
            start=self.start + number * across * width,
            size_bytes=numbers * width,
            strides=(across, along) if self.strides else (),
        )

    def read(self) -> Floats:
        """Read the tensor as contiguous float32: exact for fp16 and bf16, rounded for fp64.

        The file is read, not mapped: a later write to it changes nothing, and truncating it during the read cannot
        kill the process.

        Raises:
            ModelError: The file is now too short or cannot be read, or a number is not finite.
        """
        if self.strides:
            return self._read_strided()
        values = np.empty(prod(self.shape), dtype=np.float32)
        at = 0
        for piece in self.pieces():
            values[at : at + len(piece)] = piece
            at += len(piece)
        return values.reshape(self.shape)

    def rows(self, begin: int, end: int) -> "Tensor":
        """Rows of a matrix from ``begin`` up to, but not including, ``end``, as a tensor of the same file."""
        count, (across, along) = end - begin, self._matrix_strides()
        span = (count - 1) * across + (self.shape[1] - 1) * along + 1
        return replace(
            self,
            name=f"{self.name}[{begin}:{end}]",
            shape=(count, self.shape[1]),
            start=self.start + begin * across * SIZES[self.dtype],
            size_bytes=span * SIZES[self.dtype],
        )

    def transposed(self) -> "Tensor":
        """The transpose of a matrix, as a tensor of the same file."""
        across, along = self._matrix_strides()
        return replace(self, name=f"{self.name}.T", shape=(self.shape[1], self.shape[0]), strides=(along, across))

    def pieces(self) -> Iterator[Floats]:
        """Yield the numbers that `read` returns, in pieces; each piece may overwrite the one before.

        Raises:
            ModelError: As for `read`.
        """
        if self.strides:
            yield self._read_strided().reshape(-1)
            return
        at = 0
        for piece in self._stored():
            self._check(piece, at)
            at += len(piece)
            yield piece

    def _matrix_strides(self) -> tuple[int, int]:
        """Count of numbers from one row to the next, and from one column to the next."""
        return (self.strides[0], self.strides[1]) if self.strides else (self.shape[1], 1)

    def _read_strided(self) -> Floats:
        """Read a tensor that is not contiguous, without the numbers in between."""
        span = np.concatenate([piece.copy() for piece in self._stored()])
        values = np.ascontiguousarray(as_strided(span, self.shape, tuple(4 * stride for stride in self.strides)))
        self._check(values.reshape(-1), 0)
        return values

    def _stored(self) -> Iterator[Floats]:
        """Yield the stored numbers from the tensor's first through its last, in pieces of float32."""
        width = SIZES[self.dtype]
        left, offset = self.size_bytes, self.start
        raw = np.empty(min(_PIECE, left // width), dtype=_RAW[self.dtype])
        try:
            with self.file.open("rb", buffering=0) as stream:
                while left > 0:
                    piece = raw[: left // width]
                    _fill(stream.fileno(), piece, offset)
                    yield _floats(piece, self.dtype)
                    left, offset = left - piece.nbytes, offset + piece.nbytes
        except EOFError:
            raise ModelError(
                f"{self.file} now ends within tensor {self.name}: it became shorter after it was opened",
                "another program writes to it; start again when it has finished",
            ) from None
        except OSError as error:
            raise ModelError(f"{self.file} cannot be read: {error.strerror or error}") from error

    def _check(self, values: Floats, at: int) -> None:
        """Check that numbers are finite; ``at`` is the index of the first of them in the tensor.

        Raises:
            ModelError: A number is NaN or infinite.
        """
        number = first_not_finite(values)
        if number is None:
            return
        indices = [int(index) for index in np.unravel_index(at + number, self.shape)]
        raise ModelError(
            f"{self.file}: tensor {self.name} is {values[number]} at {indices}, a weight must be a finite number",
            "copy or download the file again; if training produced it, use another checkpoint",
        )


def first_not_finite(values: Floats) -> int | None:
    """Index of the first number that is NaN or infinite; None if there is none.

    Args:
        values: Numbers, [count].
    """
    with np.errstate(all="ignore"):
        if isfinite(np.add.reduce(values)):  # a single such number makes the sum NaN or infinite
            return None
    wrong = np.flatnonzero(~np.isfinite(values))
    return int(wrong[0]) if len(wrong) else None  # None if only the sum overflowed


def _fill(descriptor: int, values: np.ndarray[Any, Any], offset: int) -> None:
    """Read numbers from a file at an offset.

    Raises:
        EOFError: The file ends before the last number.
    """
    rest = values.data.cast("B")
    while rest:
        count = os.preadv(descriptor, [rest], offset)
        if not count:
            raise EOFError
        rest, offset = rest[count:], offset + count


def _floats(piece: np.ndarray[Any, Any], dtype: str) -> Floats:
    if dtype == "BF16":  # bfloat16 is the upper half of a float32
        piece = (piece.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # fp64 numbers beyond float32 become infinite
        floats: Floats = piece.astype(np.float32, copy=False)
    return floats


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a contiguous tensor, whose last dimension varies fastest."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
