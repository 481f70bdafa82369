"""The embedding of an input, made from its token states by pooling and the layers after it."""

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

_EPSILON = np.float32(1e-5)  # PyTorch's default for LayerNorm
_Computation = Callable[[Floats], Floats]  # vector → vector, [in] → [out]


def _relu(vector: Floats) -> Floats:
    return np.maximum(vector, np.float32(0))


def _silu(vector: Floats) -> Floats:
    exponentials: Floats = np.exp(-vector)
    return vector / (np.float32(1) + exponentials)


def _quantize(vector: Floats) -> Floats:
    return np.rint(np.tanh(vector) * np.float32(127))


_ACTIVATIONS: dict[Activation, _Computation] = {"tanh": np.tanh, "relu": _relu, "silu": _silu}


class EmbeddingPooler:
    """Pools token states and applies the layers that a model has after pooling.

    One vector per input is little work, so numpy computes it in the thread that ran the model.

    Args:
        spec: Specification of an embedder.

    Raises:
        ModelError: A layer's weights are missing, or do not fit its config.
    """

    def __init__(self, spec: ModelSpec) -> None:
        assert spec.pooling is not None, "only embedders have a pooling"
        self._pooling = spec.pooling
        self._steps: list[_Computation] = [_computation(step) for step in spec.steps]

    def __call__(self, states: Floats, skipped: int = 0) -> Floats:
        """Compute the embedding of one input, without a final normalisation; each request decides whether there is one.

        Args:
            states: States of the input's tokens, [tokens, hidden].
            skipped: Number of leading tokens that are not pooled, fewer than all.

        Returns:
            Vector in its own memory, [dimensions].
        """
        return self.finish(pool(states, self._pooling, skipped))

    def finish(self, pooled: Floats) -> Floats:
        """Apply the layers after pooling: [hidden] → [dimensions], in memory of its own."""
        vector = pooled
        for step in self._steps:
            vector = step(vector)
        return vector.copy() if vector.base is not None else vector


def _computation(step: Step) -> _Computation:
    if isinstance(step, Dense):
        return _DenseLayer(step)
    if isinstance(step, LayerNorm):
        return _LayerNorm(step)
    return _quantize if isinstance(step, Quantize) else normalize


def _weights(folder: Path) -> Weights:
    file = find_weights(folder)
    if file is None:
        raise ModelError(f"{folder} has no weights", "copy or download the whole folder")
    return Weights(file)


class _LayerNorm:
    """Layer normalisation with its weights."""

    def __init__(self, norm: LayerNorm) -> None:
        weights = _weights(norm.folder)
        self._weight = weights.head("norm.weight", norm.width).read()
        self._bias = weights.head("norm.bias", norm.width).read()

    def __call__(self, vector: Floats) -> Floats:
        """Normalise a vector, [in] → [in]."""
        shifted = vector - vector.mean(dtype=np.float32)
        found: Floats = shifted / np.sqrt(np.mean(shifted * shifted) + _EPSILON) * self._weight + self._bias
        return found


class _DenseLayer:
    """Dense layer with its weights."""

    def __init__(self, dense: Dense) -> None:
        weights = _weights(dense.folder)
        shape = (dense.outputs, dense.inputs)
        self._weight = weights.head("linear.weight", *shape).read()
        self._bias = weights.head("linear.bias", dense.outputs).read() if dense.has_bias else np.float32(0)
        self._activation = dense.activation
        self._residual = None
        if dense.has_residual and dense.inputs != dense.outputs:
            self._residual = weights.head("residual.weight", *shape).read()
        self._has_residual = dense.has_residual

    def __call__(self, vector: Floats) -> Floats:
        """Apply the layer to a vector, [in] → [out]."""
        found: Floats = self._weight @ vector + self._bias
        if self._activation is not None:
            found = _ACTIVATIONS[self._activation](found)
        if self._has_residual:
            found = found + (vector if self._residual is None else self._residual @ vector)
        return found
