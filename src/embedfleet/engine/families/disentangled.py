"""Relative position bias of disentangled attention (He et al. 2021, section 3.1), with DeBERTa-v2's buckets."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedfleet.arrays import Floats
from embedfleet.engine.files.tensor import Tensor

Integers = np.ndarray[Any, np.dtype[np.int64]]

TILE = 128
"""Number of queries whose scores are computed at a time on the CPU."""


@dataclass(frozen=True, slots=True)
class Norm:
    """Tensors of a layer normalisation, [width] each."""

    scale: Tensor
    shift: Tensor
    epsilon: float


@dataclass(frozen=True, slots=True)
class Projection:
    """A table that a dense layer projects. It is the same for every text, so it is computed once, at load.

    Attributes:
        table: Table, [rows, width].
        norm: Normalisation of the rows before the dense layer; None for none.
        weight: Weight of the dense layer, [out, width].
        bias: Bias of the dense layer, [out]; None for none.
        factor: Factor of the result.
    """

    table: Tensor
    norm: Norm | None
    weight: Tensor
    bias: Tensor | None
    factor: float

    @property
    def file(self) -> str:
        """File of the table, for error messages."""
        return str(self.table.file)

    @property
    def name(self) -> str:
        """Name of the dense layer's weight, for error messages."""
        return self.weight.name

    def read(self) -> Floats:
        """Compute the projected table, [rows, out].

        Raises:
            ModelError: A tensor cannot be read, as for `Tensor.read`.
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
    """Bias on the score of query q at place i and key k at place j: q . keys[r] + k . queries[r], with row r for i - j.

    Each head has its own columns of both tables. The tables already include the scaling factors of the scores.

    Attributes:
        keys: Relative keys, for content to position, [2 x span, heads x head_size]; None if the model has none.
        queries: Relative queries, for position to content, [2 x span, heads x head_size]; None if the model has none.
        span: Number of rows for each sign of the distance; longer distances share the last row.
        exact: Distance in tokens from which distances share rows logarithmically; 0 if each distance has its own row.
        farthest: Distance in tokens from which all distances of a sign share the last row.
        longest: Number of tokens of the longest input.
    """

    keys: Projection | None
    queries: Projection | None
    span: int
    exact: int
    farthest: int
    longest: int

    def rows(self) -> Integers:
        """Row of the tables for each distance i - j from -``longest`` to ``longest``."""
        distances = np.arange(-self.longest, self.longest + 1)
        if self.exact:
            distances = self._logarithmic(distances)
        return np.clip(distances + self.span, 0, 2 * self.span - 1).astype(np.int64)

    def _logarithmic(self, distances: Integers) -> Integers:
        """Map long distances to logarithmic buckets.

        This is computed in float32, as in training: at a power of the base, a rounding error decides the bucket.
        """
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
