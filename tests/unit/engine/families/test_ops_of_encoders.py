"""Operations of single families are right on every backend, compared as in `test_ops`."""

import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedfleet.engine.families.disentangled import Disentangled, Norm, Projection
from embedfleet.engine.families.ops import Attention, Linear
from embedfleet.engine.files.weights import Weights
from tests.unit.engine.families.test_ops import (  # noqa: F401 - `weights` is a fixture
    ALONE,
    BACKENDS,
    BLOCKS,
    HEADS,
    LONG,
    RAGGED,
    RUNS,
    SIZE,
    WIDTH,
    check,
    find,
    values,
    weights,
)

EPSILON = 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_shift(backend, weights):  # noqa: F811
    check(
        backend, weights, RAGGED, lambda o, w, s: o.shift(s, find(w, "shift")), lambda s: s + values(weights, "shift")
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("most", [1, 2, 4])
def test_each_token_takes_its_best_experts(backend, weights, most):  # noqa: F811
    def tell(ops, weights, states):
        scores = ops.dense(states, Linear(find(weights, "key.weight").rows(0, 4)))
        experts = [
            lambda some: ops.activate(some, "tanh"),
            lambda some: ops.scale(some, -2.0),
            lambda some: ops.multiply(some, some),
            lambda some: ops.shift(some, find(weights, "shift")),
        ]
        return ops.mix_experts(states, scores, most, experts)

    def expected(states):
        shift = values(weights, "shift")
        found = np.stack([np.tanh(states), -2 * states, states**2, states + shift])
        scores = np.exp(states @ values(weights, "key.weight")[:4].T)
        shares = scores / scores.sum(1, keepdims=True)
        shares[shares < np.sort(shares, axis=1)[:, -most, None]] = 0
        return np.einsum("ne,enw->nw", shares, found)

    check(backend, weights, RAGGED, tell, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [RAGGED, RUNS, ALONE, LONG, BLOCKS])
@pytest.mark.parametrize("kinds", [("keys",), ("queries",), ("keys", "queries")])
def test_disentangled_attention_tile_by_tile(backend, weights, lengths, kinds):  # noqa: F811
    """Tile by tile, the bias equals one made from a table of distances and a dense layer."""
    table, weight = find(weights, "query.weight").rows(0, 8), find(weights, "key.weight").rows(0, WIDTH)
    made = Projection(table, None, weight, find(weights, "query.bias"), 0.5)
    rows = 0.5 * (values(weights, "query.weight")[:8] @ values(weights, "key.weight").T + values(weights, "query.bias"))
    bias = Disentangled(made if "keys" in kinds else None, made if "queries" in kinds else None, 4, 2, 9, max(lengths))
    attention = Attention(HEADS, SIZE, bias=bias)

    def expected(states):
        count = len(states)
        query, key, value = (
            part.reshape(count, HEADS, SIZE).transpose(1, 0, 2) for part in np.split(states, 3, axis=1)
        )
        apart = bias.rows()[np.subtract.outer(np.arange(count), np.arange(count)) + bias.longest]
        by_head = rows.reshape(8, HEADS, SIZE).transpose(1, 0, 2)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(SIZE)
        if "keys" in kinds:
            scores += np.take_along_axis(query @ by_head.transpose(0, 2, 1), apart[None], axis=2)
        if "queries" in kinds:
            scores += np.take_along_axis(by_head @ key.transpose(0, 2, 1), apart[None], axis=1)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = scores / scores.sum(-1, keepdims=True) @ value
        return mixed.transpose(1, 0, 2).reshape(count, -1)

    def tell(ops, _, states):
        return ops.attention(*ops.split(states, (WIDTH, WIDTH, WIDTH)), attention)

    check(backend, weights, lengths, tell, expected)


def test_a_projection_is_of_a_table_that_is_normalised(weights):  # noqa: F811
    norm = Norm(find(weights, "scale"), find(weights, "shift"), EPSILON)
    made = Projection(find(weights, "states"), norm, find(weights, "query.weight"), None, 2.0)
    states = values(weights, "states")
    centred = states - states.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    wanted = 2.0 * (normed * values(weights, "scale") + values(weights, "shift")) @ values(weights, "query.weight").T
    np.testing.assert_allclose(made.read(), wanted, atol=1e-4)


def test_rows_and_columns_of_a_tensor_are_tensors(weights):  # noqa: F811
    whole = find(weights, "dense.weight")
    np.testing.assert_array_equal(whole.rows(3, 9).read(), whole.read()[3:9])
    np.testing.assert_array_equal(whole.transposed().read(), whole.read().T)
    np.testing.assert_array_equal(whole.rows(3, 9).transposed().read(), whole.read()[3:9].T)
    np.testing.assert_array_equal(whole.transposed().rows(5, 7).read(), whole.read()[:, 5:7].T)
    assert len({whole.name, whole.transposed().name, whole.rows(0, 2).name, whole.rows(2, 4).name}) == 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [RAGGED, RUNS, ALONE])
@pytest.mark.parametrize(("groups", "size"), [(1, 3), (4, 5)])
def test_a_convolution_ends_with_its_sequence(tmp_path, backend, lengths, groups, size):
    width, rng = 3 * WIDTH, np.random.default_rng(2)
    kernel = (rng.standard_normal((width, width // groups, size)) / width).astype(np.float32)
    states = rng.standard_normal((64, width)).astype(np.float32)
    save_file({"states": states, "kernel": kernel, "bias": kernel[:, 0, 0].copy()}, tmp_path / "model.safetensors")
    own = Weights(tmp_path / "model.safetensors", "")

    def tell(ops, own, states):
        layer = Linear(own.head("kernel", *kernel.shape), own.head("bias", width))
        return ops.convolve(states, layer, groups)

    def expected(states):
        around = np.pad(states, ((size // 2, size // 2), (0, 0)))
        near = np.stack([around[begin : begin + len(states)] for begin in range(size)], axis=2)
        near = near.reshape(len(states), groups, width // groups, size)
        by_group = kernel.astype(float).reshape(groups, width // groups, width // groups, size)
        return np.einsum("ngik,goik->ngo", near, by_group).reshape(len(states), width) + kernel[:, 0, 0]

    check(backend, own, lengths, tell, expected)
