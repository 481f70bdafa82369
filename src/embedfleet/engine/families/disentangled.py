"""What disentangled attention adds to scores: who stands where, told by tables that are made once.

He et al. 2021 (DeBERTa), section 3.1, with the buckets of DeBERTa-v2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedfleet.arrays import Floats
from embedfleet.engine.files.tensor import Tensor

Integers = np.ndarray[Any, np.dtype[np.int64]]

TILE = 128
"""Queries whose scores are made at a time, on the CPU."""


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer normalisation's tensors, [width] each."""

    scale: Tensor
    shift: Tensor
    epsilon: float


@dataclass(frozen=True, slots=True)
class Projection:
    """A table that a dense layer has been over: the same for every text, so it is computed when the model is loaded.

    Attributes:
        table: [rows, width].
        norm: of its rows, before the dense layer.
        weight: [out, width].
        bias: [out].
        factor: that all of the outcome is multiplied by.
    """

    table: Tensor
    norm: Norm | None
    weight: Tensor
    bias: Tensor | None
    factor: float

    @property
    def file(self) -> str:
        """Where the table is, for errors."""
        return str(self.table.file)

    @property
    def name(self) -> str:
        """Of the dense layer's weight, for errors."""
        return self.weight.name

    def read(self) -> Floats:
        """The outcome, [rows, out].

        Raises:
            ModelError: as `Tensor.read`.
        """
        rows = self.table.read()
        if self.norm is not None:
            rows = _normalize(rows, self.norm)
        out = rows @ self.weight.read().T
        if self.bias is not None:
            out += self.bias.read()
        return out * np.float32(self.factor)


@dataclass(frozen=True, slots=True)
class Disentangled:
    """More for the score of query q at place i and key k at place j: q . keys[r] + k . queries[r], r by i - j.

    Each head has its part of the tables' columns. Both tables have their factors in them already.

    Attributes:
        keys: [2 x span, heads x head_size], of content to position; None where the model has it not.
        queries: the same of position to content.
        span: rows of each side; farther tokens share the last one.
        exact: from here on distances share rows by their logarithm; 0 where each has its own.
        farthest: the distance that the last row of logarithms begins after.
        longest: tokens of the longest input.
    """

    keys: Projection | None
    queries: Projection | None
    span: int
    exact: int
    farthest: int
    longest: int

    def rows(self) -> Integers:
        """The tables' row for each distance i - j, from -``longest`` to ``longest``."""
        distances = np.arange(-self.longest, self.longest + 1)
        if self.exact:
            distances = self._by_logarithm(distances)
        return np.clip(distances + self.span, 0, 2 * self.span - 1).astype(np.int64)

    def _by_logarithm(self, distances: Integers) -> Integers:
        """In float32, as the models were trained: at a power of the base a rounding error decides on the bucket."""
        far, exact = np.abs(distances), np.float32(self.exact)
        ratios = np.maximum(far, self.exact).astype(np.float32) / exact
        base = np.log(np.float32((self.farthest - 1) / self.exact))
        steps = np.ceil(np.log(ratios) / base * np.float32(self.exact - 1)) + exact
        return np.where(far <= self.exact, distances, np.sign(distances) * steps.astype(np.int64))


def _normalize(rows: Floats, norm: Norm) -> Floats:
    exact = rows.astype(np.float64)
    exact -= exact.mean(axis=-1, keepdims=True)
    exact /= np.sqrt((exact**2).mean(axis=-1, keepdims=True) + norm.epsilon)
    normed: Floats = (exact * norm.scale.read() + norm.shift.read()).astype(np.float32)
    return normed
