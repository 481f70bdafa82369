"""An input's one vector, from its token states, once for every backend."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from embedfleet.arrays import Floats
from embedfleet.engine.compute.pooling import normalize, pool
from embedfleet.engine.families.ops import Activation
from embedfleet.engine.files.weights import Weights, find_weights
from embedfleet.engine.model.modules import Dense, LayerNorm, Quantize, Step
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.errors import ModelError

_EPSILON = np.float32(1e-5)  # PyTorch's of a LayerNorm that is told none
_Computation = Callable[[Floats], Floats]  # one vector of another, [in] → [out]


def _relu(vector: Floats) -> Floats:
    return np.maximum(vector, np.float32(0))


def _silu(vector: Floats) -> Floats:
    exponentials: Floats = np.exp(-vector)
    return vector / (np.float32(1) + exponentials)


def _quantize(vector: Floats) -> Floats:
    return np.rint(np.tanh(vector) * np.float32(127))


_ACTIVATIONS: dict[Activation, _Computation] = {"tanh": np.tanh, "relu": _relu, "silu": _silu}


class Vectors:
    """Pools token states and takes the vector through the layers that the model has after that.

    Few numbers pass here, one vector per input, so numpy computes them in the thread that ran the model.

    Args:
        spec: of an embedder.

    Raises:
        ModelError: a layer's weights are missing, or do not fit its config.
    """

    def __init__(self, spec: ModelSpec) -> None:
        assert spec.pooling is not None, "vectors are asked of embedders alone"
        self._pooling = spec.pooling
        self._steps: list[_Computation] = [_computation(step) for step in spec.steps]

    def __call__(self, states: Floats, skipped: int = 0) -> Floats:
        """The vector of one input, not normalised unless a layer follows that.

        Args:
            states: [tokens, hidden].
            skipped: tokens at the begin that are not pooled, fewer than there are.

        Returns:
            [dimensions], in memory of its own.
        """
        vector = pool(states, self._pooling, skipped)
        for step in self._steps:
            vector = step(vector)
        return vector.copy() if vector.base is not None else vector


def _computation(step: Step) -> _Computation:
    if isinstance(step, Dense):
        return _Layer(step)
    if isinstance(step, LayerNorm):
        return _Norm(step)
    return _quantize if isinstance(step, Quantize) else normalize


def _weights(folder: Path) -> Weights:
    file = find_weights(folder)
    if file is None:
        raise ModelError(f"{folder} has no weights", "copy or download the whole folder")
    return Weights(file)


class _Norm:
    """A `LayerNorm` with its weights."""

    def __init__(self, norm: LayerNorm) -> None:
        weights = _weights(norm.folder)
        self._weight = weights.head("norm.weight", norm.width).read()
        self._bias = weights.head("norm.bias", norm.width).read()

    def __call__(self, vector: Floats) -> Floats:
        """[in] → [in]."""
        shifted = vector - vector.mean(dtype=np.float32)
        found: Floats = shifted / np.sqrt(np.mean(shifted * shifted) + _EPSILON) * self._weight + self._bias
        return found


class _Layer:
    """A `Dense` with its weights."""

    def __init__(self, dense: Dense) -> None:
        weights = _weights(dense.folder)
        shape = (dense.outputs, dense.inputs)
        self._weight = weights.head("linear.weight", *shape).read()
        self._bias = weights.head("linear.bias", dense.outputs).read() if dense.bias else np.float32(0)
        self._activation = dense.activation
        self._residual = None
        if dense.residual and dense.inputs != dense.outputs:
            self._residual = weights.head("residual.weight", *shape).read()
        self._has_residual = dense.residual

    def __call__(self, vector: Floats) -> Floats:
        """[in] → [out]."""
        found: Floats = self._weight @ vector + self._bias
        if self._activation is not None:
            found = _ACTIVATIONS[self._activation](found)
        if self._has_residual:
            found = found + (vector if self._residual is None else self._residual @ vector)
        return found
