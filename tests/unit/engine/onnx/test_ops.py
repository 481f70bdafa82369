"""Dense layers in int8; `families/test_ops.py` compares all operations of both backends."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedfleet.engine.families.ops import Linear
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.onnx.ops import OnnxOps
from embedfleet.engine.onnx.quantization import quantize
from embedfleet.engine.onnx.session import OnnxSession


@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer_is_an_integer_product_with_a_step_per_token_and_output(tmp_path, bias):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((6, 64)).astype(np.float32) * np.array([[1], [1e-4], [1e4], [0], [1], [1]], np.float32)
    weight = rng.standard_normal((20, 64)).astype(np.float32)
    states[4], weight[4] = (
        3.0,
        1.0,
    )  # the largest bytes, whose sums of two products overflow 16 bits
    tensors = {"states": states, "weight": weight, "bias": rng.standard_normal(20).astype(np.float32)}
    found = run_dense(tmp_path, tensors, bias=bias)
    whole, steps = quantize(weight)
    own = np.maximum(np.abs(states).max(axis=1, keepdims=True), np.float32(1e-30)) * np.float32(1 / 127)
    expected = (np.rint(states / own).astype(int) @ whole.astype(int)) * steps * own + bias * tensors["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    exact = states @ weight.T + bias * tensors["bias"]
    assert np.abs(found - exact).max() > 1e-4  # proof that it was int8


def test_a_layer_of_few_outputs_stays_in_float32(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"states": rng.standard_normal((6, 64)).astype(np.float32)}
    tensors |= {"weight": rng.standard_normal((3, 64)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    found = run_dense(tmp_path, tensors, bias=False)
    np.testing.assert_allclose(found, tensors["states"] @ tensors["weight"].T, atol=1e-5)


def run_dense(folder: Path, tensors, *, bias: bool):
    save_file(tensors, folder / "model.safetensors")
    weights = Weights(folder / "model.safetensors")
    found = {name: weights.head(name, *values.shape) for name, values in tensors.items()}
    ops = OnnxOps(int8=True)
    output = ops.dense(ops.embed(found["states"], ops.ids), Linear(found["weight"], found["bias"] if bias else None))
    session = OnnxSession.of_graph(ops.build([output]), folder)
    return session.run([output], {"ids": np.arange(len(tensors["states"]))}, "rows")[0]
