"""One tensor of a model on disk."""

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
"""Bytes of a number, by the types that are read; named as safetensors names them."""

_RAW = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
_PIECE = (
    1 << 20
)  # numbers that are read at a time: few enough to stay in the processor's cache while they are looked at


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

    def row(self, number: int) -> "Tensor":
        """One row of a tensor of two dimensions, as a tensor [1, columns]."""
        width, steps = SIZES[self.dtype], self.steps or steps_in_order(self.shape)
        numbers = 1 + steps[1] * (self.shape[1] - 1)
        return replace(
            self,
            name=f"{self.name}[{number}]",
            shape=(1, self.shape[1]),
            start=self.start + number * steps[0] * width,
            size_bytes=numbers * width,
            steps=steps if self.steps else (),
        )

    def read(self) -> Floats:
        """The tensor in float32, in order: exact of fp16 and bf16, which are subsets of it, rounded of fp64.

        It is read, not mapped: what somebody does to the file afterwards changes nothing, and meanwhile, ends nobody.

        Raises:
            ModelError: the file has not got so many bytes any more or cannot be read, or a number is not finite.
        """
        if self.steps:
            return self._in_order()
        values = np.empty(prod(self.shape), dtype=np.float32)
        at = 0
        for piece in self.pieces():
            values[at : at + len(piece)] = piece
            at += len(piece)
        return values.reshape(self.shape)

    def rows(self, begin: int, end: int) -> "Tensor":
        """Of a matrix the rows from ``begin`` to ``end``, as a tensor of its own, of the same file."""
        count, (across, along) = end - begin, self._steps()
        span = (count - 1) * across + (self.shape[1] - 1) * along + 1
        return replace(
            self,
            name=f"{self.name}[{begin}:{end}]",
            shape=(count, self.shape[1]),
            start=self.start + begin * across * SIZES[self.dtype],
            size_bytes=span * SIZES[self.dtype],
        )

    def turned(self) -> "Tensor":
        """A matrix with its rows as columns, as a tensor of its own, of the same file."""
        across, along = self._steps()
        return replace(self, name=f"{self.name}.T", shape=(self.shape[1], self.shape[0]), steps=(along, across))

    def pieces(self) -> Iterator[Floats]:
        """The numbers of `read`, in memory that the next piece may use again.

        Raises:
            ModelError: as `read`.
        """
        if self.steps:
            yield self._in_order().reshape(-1)
            return
        at = 0
        for piece in self._stored():
            self._check(piece, at)
            at += len(piece)
            yield piece

    def _steps(self) -> tuple[int, int]:
        """Of a matrix, as ``steps`` has them or as they are where it lies in order."""
        return (self.steps[0], self.steps[1]) if self.steps else (self.shape[1], 1)

    def _in_order(self) -> Floats:
        """A tensor whose numbers lie apart, of which those between belong to others."""
        span = np.concatenate([piece.copy() for piece in self._stored()])
        values = np.ascontiguousarray(as_strided(span, self.shape, tuple(4 * step for step in self.steps)))
        self._check(values.reshape(-1), 0)
        return values

    def _stored(self) -> Iterator[Floats]:
        """Pieces of what lies between the first number and the last, in float32."""
        width = SIZES[self.dtype]
        left, place = self.size_bytes, self.start
        raw = np.empty(min(_PIECE, left // width), dtype=_RAW[self.dtype])
        try:
            with self.file.open("rb", buffering=0) as stream:
                while left > 0:
                    piece = raw[: left // width]
                    _fill(stream.fileno(), piece, place)
                    yield _floats(piece, self.dtype)
                    left, place = left - piece.nbytes, place + piece.nbytes
        except EOFError:
            raise ModelError(
                f"{self.file} ends within tensor {self.name}, which was not so when it was opened",
                "somebody writes to it: start again when that is done",
            ) from None
        except OSError as error:
            raise ModelError(f"{self.file} cannot be read: {error.strerror or error}") from error

    def _check(self, values: Floats, at: int) -> None:
        """See that numbers are finite; ``at`` is the place of the first among the tensor's."""
        number = first_not_finite(values)
        if number is None:
            return
        place = [int(index) for index in np.unravel_index(at + number, self.shape)]
        raise ModelError(
            f"{self.file}: tensor {self.name} is {values[number]} at {place}, a weight must be a finite number",
            "copy or download the file again; if it is so from its training, take another checkpoint",
        )


def first_not_finite(values: Floats) -> int | None:
    """The place of the first number that is NaN or infinite; None if there is none.

    Args:
        values: of one dimension.
    """
    with np.errstate(all="ignore"):
        if isfinite(np.add.reduce(values)):  # one of them makes the sum so, too
            return None
    wrong = np.flatnonzero(~np.isfinite(values))
    return int(wrong[0]) if len(wrong) else None  # none: the sum alone was too great


def _fill(descriptor: int, values: np.ndarray[Any, Any], place: int) -> None:
    """Read bytes of a file into numbers.

    Raises:
        EOFError: it ends before.
    """
    room = values.data.cast("B")
    while room:
        count = os.preadv(descriptor, [room], place)
        if not count:
            raise EOFError
        room, place = room[count:], place + count


def _floats(piece: np.ndarray[Any, Any], dtype: str) -> Floats:
    if dtype == "BF16":  # the upper half of a float32
        piece = (piece.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # of fp64, what is too great for float32 is infinite
        floats: Floats = piece.astype(np.float32, copy=False)
    return floats


def steps_in_order(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The steps of a tensor whose numbers lie in order, the last dimension fastest."""
    return tuple(prod(shape[place + 1 :]) for place in range(len(shape)))
