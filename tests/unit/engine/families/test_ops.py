"""Every operation of `engine.families.ops` is right on every backend, compared with numpy one sequence at a time."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from embedfleet.engine.compute.ragged_batch import ragged_layout
from embedfleet.engine.families.ops import (
    BLOCK,
    LONGEST_UNSPLIT,
    Alibi,
    Attention,
    Linear,
    Ops,
    RelativeBias,
    Rotary,
    V,
)
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.onnx.ops import OnnxOps
from embedfleet.engine.onnx.session import OnnxSession
from embedfleet.engine.torch.grids import exact_length, power_of_two
from embedfleet.engine.torch.inputs import PassInputs
from embedfleet.engine.torch.ops import TorchOps
from embedfleet.engine.torch.pass_shape import PassShape, pack
from embedfleet.engine.torch.variable_length import ByDefinition
from embedfleet.engine.torch.weights import TorchWeights

TOLERANCE = 1e-5
ROWS, HEADS, SIZE = 64, 4, 8
WIDTH = HEADS * SIZE
FREQUENCIES = tuple(10000.0 ** (-2 * pair / SIZE) for pair in range(SIZE // 2))
RAGGED, UNIFORM, ALONE, LONG = [3, 1, 40, 17], [9, 9, 9], [5], [300, 12]
RUNS = [4, 4, 7, 7, 7, 4]
BLOCKS = [
    LONGEST_UNSPLIT + 1,
    12,
    LONGEST_UNSPLIT + 1,
    LONGEST_UNSPLIT + 1,
]  # computed in blocks; the last block has one query
Tell = Callable[[Ops[V], Weights, V], V]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    rng = np.random.default_rng(0)
    shapes = {
        "states": (ROWS, 3 * WIDTH),
        "dense.weight": (20, 3 * WIDTH),
        "dense.bias": (20,),
        "query.weight": (WIDTH, 3 * WIDTH),
        "query.bias": (WIDTH,),
        "key.weight": (WIDTH, 3 * WIDTH),
        "value.weight": (WIDTH, 3 * WIDTH),
        "value.bias": (WIDTH,),
        "scale": (3 * WIDTH,),
        "shift": (3 * WIDTH,),
        "head_scale": (SIZE,),
        "by_distance": (32, HEADS),
    }
    tensors = {
        name: (rng.standard_normal(shape) / math.sqrt(shape[-1])).astype(np.float32) for name, shape in shapes.items()
    }
    tensors["states"] *= 8  # so that tokens attend differently
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(tensors, file)
    return Weights(file, "")


def find(weights, name):
    shapes = {"states": (ROWS, 3 * WIDTH), "scale": (3 * WIDTH,), "shift": (3 * WIDTH,), "head_scale": (SIZE,)}
    shapes |= {"by_distance": (32, HEADS), "dense.weight": (20, 3 * WIDTH), "dense.bias": (20,)}
    shape = shapes.get(name) or ((WIDTH,) if name.endswith("bias") else (WIDTH, 3 * WIDTH))
    return weights.head(name, *shape)


def linear(weights, name):
    bias = find(weights, f"{name}.bias") if weights.has(f"{name}.bias") else None
    return Linear(find(weights, f"{name}.weight"), bias)


def values(weights, name):
    return find(weights, name).read().astype(np.float64)


def run_onnx(weights: Weights, lengths: list[int], ids: np.ndarray, tell: Tell) -> np.ndarray:
    ops = OnnxOps()
    output = tell(ops, weights, ops.embed(find(weights, "states"), ops.ids))
    graph = ops.build([output])
    session = OnnxSession.of_graph(graph, Path(weights.file))
    feeds = ragged_layout(np.array(lengths)) | {"ids": ids}
    (rows,) = session.run(graph.outputs, feeds, "rows")
    return rows


def run_torch(
    weights: Weights, lengths: list[int], ids: np.ndarray, tell: Tell, *, kernel=None, padded=exact_length
) -> np.ndarray:
    torch.set_num_threads(1)  # as the backend does
    shape = PassShape.of(np.array(lengths))
    numbers = torch.from_numpy(pack(ids, np.zeros_like(ids), np.array(lengths), shape))
    values, inputs = TorchWeights(torch.device("cpu"), torch.float32), PassInputs.of(numbers, shape, np.array(lengths))
    ops = TorchOps(values, inputs, 0, kernel=kernel, padded=padded)
    with torch.inference_mode():
        return tell(ops, weights, ops.embed(find(weights, "states"), ops.ids)).numpy()


def run_torch_in_grids(weights: Weights, lengths: list[int], ids: np.ndarray, tell: Tell) -> np.ndarray:
    """As on a GPU where no kernel computes the attention."""
    return run_torch(weights, lengths, ids, tell, padded=power_of_two)


def run_torch_at_once(weights: Weights, lengths: list[int], ids: np.ndarray, tell: Tell) -> np.ndarray:
    """As on a GPU with a kernel for sequences of any lengths."""
    return run_torch(weights, lengths, ids, tell, kernel=ByDefinition(), padded=power_of_two)


BACKENDS = {
    "onnx": run_onnx,
    "torch": run_torch,
    "torch in grids": run_torch_in_grids,
    "torch at once": run_torch_at_once,
}


def check(backend, weights, lengths, tell, expected):
    """Compare a backend with ``expected``, a function of one sequence's states [tokens, 3 x width] in float64."""
    ids = np.random.default_rng(1).integers(0, ROWS, sum(lengths))
    rows = BACKENDS[backend](weights, lengths, ids, tell)
    sequences = np.split(values(weights, "states")[ids], np.cumsum(lengths)[:-1])
    wanted = np.concatenate([expected(states) for states in sequences])
    np.testing.assert_allclose(rows, wanted, atol=TOLERANCE, rtol=TOLERANCE)


def erf(states):
    return np.vectorize(math.erf)(states)


ACTIVATIONS = {
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(backend, weights, activation):
    check(backend, weights, RAGGED, lambda ops, _, s: ops.activate(s, activation), ACTIVATIONS[activation])


@pytest.mark.parametrize("backend", BACKENDS)
def test_arithmetic(backend, weights):
    def tell(ops, _, states):
        one, two, three = ops.split(states, (8, 8, 80))
        return ops.add(ops.multiply(one, two), ops.scale(ops.split(three, (8, 72))[0], -2.5))

    check(backend, weights, RAGGED, tell, lambda s: s[:, :8] * s[:, 8:16] - 2.5 * s[:, 16:24])


@pytest.mark.parametrize("backend", BACKENDS)
def test_dense_with_and_without_a_bias(backend, weights):
    matrix, bias = values(weights, "dense.weight"), values(weights, "dense.bias")

    check(backend, weights, RAGGED, lambda o, w, s: o.dense(s, linear(w, "dense")), lambda s: s @ matrix.T + bias)
    check(
        backend,
        weights,
        RAGGED,
        lambda o, w, s: o.dense(s, Linear(find(w, "dense.weight"))),
        lambda s: s @ matrix.T,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shifted", [True, False])
def test_layer_norm(backend, weights, shifted):
    def tell(ops, weights, states):
        return ops.layer_norm(states, find(weights, "scale"), find(weights, "shift") if shifted else None, 1e-3)

    def expected(states):
        centred = states - states.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3) * values(weights, "scale")
        return normed + (values(weights, "shift") if shifted else 0)

    check(backend, weights, RAGGED, tell, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", ["scale", "head_scale"])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_rms_norm_of_the_whole_width_and_of_each_head(backend, weights, scale, offset):
    def expected(states):
        factors = values(weights, scale) + offset
        heads = states.reshape(len(states), -1, len(factors))
        return (heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 1e-3) * factors).reshape(states.shape)

    check(backend, weights, RAGGED, lambda o, w, s: o.rms_norm(s, find(w, scale), 1e-3, offset=offset), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [RAGGED, RUNS, ALONE])
@pytest.mark.parametrize(
    ("operation", "expected"),
    [("first", lambda s: s[:1]), ("last", lambda s: s[-1:]), ("mean", lambda s: s.mean(0, keepdims=True))],
)
def test_one_row_per_sequence(backend, weights, lengths, operation, expected):
    check(backend, weights, lengths, lambda ops, _, s: getattr(ops, operation)(s), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [RAGGED, RUNS, ALONE, [1]])
def test_the_last_token_that_is_no_padding(backend, weights, lengths):
    pad = int(np.random.default_rng(1).integers(0, ROWS, sum(lengths))[-1])  # id of the last sequence's last token

    def expected(states):
        kept = np.flatnonzero((states != values(weights, "states")[pad]).any(axis=1))
        return states[kept[-1:]] if len(kept) else states[:1]

    check(backend, weights, lengths, lambda ops, _, s: ops.last(s, pad), expected)


def rotate(states, rotary):
    """Rotary embedding by Su et al. 2021, section 3.2.2; it pairs the two halves of a head."""
    half = len(rotary.frequencies)
    heads = states.reshape(len(states), -1, rotary.head_size)
    angles = np.arange(len(states))[:, None, None] * np.array(rotary.frequencies)
    cosines, sines = np.cos(angles) * rotary.scaling, np.sin(angles) * rotary.scaling
    left, right, rest = heads[..., :half], heads[..., half : 2 * half], heads[..., 2 * half :]
    turned = [left * cosines - right * sines, right * cosines + left * sines, rest]
    return np.concatenate(turned, axis=-1).reshape(states.shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [RAGGED, ALONE, LONG])
@pytest.mark.parametrize("rotary", [Rotary(SIZE, FREQUENCIES), Rotary(SIZE, FREQUENCIES[:2], 0.5)], ids=["all", "part"])
def test_rotation_begins_anew_in_every_sequence(backend, weights, lengths, rotary):
    check(backend, weights, lengths, lambda ops, _, s: ops.rotate(s, rotary), lambda s: rotate(s, rotary))


def attend(query, key, value, attention, by_distance=None):
    """Attention of one sequence, [tokens, heads x size] → [tokens, heads x size]."""
    count = len(query)
    split = [part.reshape(count, -1, attention.head_size).transpose(1, 0, 2) for part in (query, key, value)]
    times = attention.heads // attention.key_heads
    queries, keys, contents = split[0], np.repeat(split[1], times, 0), np.repeat(split[2], times, 0)
    scores = queries @ keys.transpose(0, 2, 1) / math.sqrt(attention.head_size)
    after = np.arange(count)[None] - np.arange(count)[:, None]
    if isinstance(attention.bias, Alibi):
        scores -= np.array(attention.bias.slopes)[:, None, None] * np.abs(after)
    elif attention.bias is not None:
        buckets = np.array([attention.bias.bucket(distance) for distance in range(1 - count, count)])
        scores += by_distance[buckets[after + count - 1]].transpose(2, 0, 1)
    hidden = np.zeros_like(after, dtype=bool)
    if attention.is_causal:
        hidden |= after > 0
    if attention.window is not None:
        hidden |= np.abs(after) > attention.window
    weights = np.exp(np.where(hidden, -np.inf, scores - scores.max(-1, keepdims=True)))
    mixed = weights / weights.sum(-1, keepdims=True) @ contents
    return mixed.transpose(1, 0, 2).reshape(count, -1)


SLOPES = Alibi((0.5, 0.25, 0.125, 0.0625))
ATTENTIONS = {
    "plain": (Attention(HEADS, SIZE), None),
    "causal": (Attention(HEADS, SIZE, is_causal=True), None),
    "window": (Attention(HEADS, SIZE, window=5), None),
    "alibi": (Attention(HEADS, SIZE, bias=SLOPES), None),
    "relative": (Attention(HEADS, SIZE), 32),
    "causal window": (Attention(HEADS, SIZE, is_causal=True, window=5), None),
    "window over blocks": (Attention(HEADS, SIZE, window=BLOCK + 7), None),
    "window of itself": (Attention(HEADS, SIZE, window=0), None),
    "window of all": (Attention(HEADS, SIZE, window=5000), None),
    "alibi in a window": (Attention(HEADS, SIZE, window=9, bias=SLOPES), None),
    "relative and causal": (Attention(HEADS, SIZE, is_causal=True, window=300), 32),
    "all at once": (Attention(HEADS, SIZE, is_causal=True, window=9, bias=SLOPES), None),
}


def with_bias(attention, weights, buckets):
    if buckets is None:
        return attention
    return replace(attention, bias=RelativeBias(find(weights, "by_distance"), buckets))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [RAGGED, RUNS, UNIFORM, ALONE, LONG, BLOCKS])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_over_projections(backend, weights, name, lengths):
    attention = with_bias(ATTENTIONS[name][0], weights, ATTENTIONS[name][1])
    names = ("query", "key", "value")

    def tell(ops, weights, states):
        query, key, value = (ops.dense(states, linear(weights, name)) for name in names)
        twice = [ops.attention(query, key, value, attention) for _ in range(2)]
        return ops.add(twice[0], twice[1])  # two layers share the biases computed from distances

    def expected(states):
        parts = [states @ values(weights, f"{name}.weight").T for name in names]
        parts[0], parts[2] = parts[0] + values(weights, "query.bias"), parts[2] + values(weights, "value.bias")
        return 2 * attend(*parts, attention, values(weights, "by_distance"))

    check(backend, weights, lengths, tell, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [RAGGED, BLOCKS])
@pytest.mark.parametrize("seen", [{}, {"is_causal": True}, {"window": 40}])
@pytest.mark.parametrize("key_heads", [1, 2])
def test_attention_whose_keys_serve_several_heads(backend, weights, key_heads, seen, lengths):
    attention, width = Attention(HEADS, SIZE, key_heads, **seen), key_heads * SIZE

    def tell(ops, _, states):
        query, key, value, _ = ops.split(states, (WIDTH, width, width, 2 * WIDTH - 2 * width))
        return ops.attention(query, key, value, attention)

    def expected(states):
        query, key, value, _ = np.split(states, np.cumsum([WIDTH, width, width]), axis=1)
        return attend(query, key, value, attention)

    check(backend, weights, lengths, tell, expected)


def peak_mb() -> float:
    """Peak memory of this process since `forget_peak`, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@pytest.mark.parametrize("backend", [name for name in BACKENDS if BACKENDS[name] is not run_torch_at_once])
@pytest.mark.parametrize("name", ["causal", "window", "alibi", "all at once"])
def test_attention_never_holds_the_scores_of_all_pairs_of_a_long_text(backend, weights, name):
    attention, tokens = with_bias(ATTENTIONS[name][0], weights, ATTENTIONS[name][1]), 6000
    all_pairs_mb = HEADS * tokens**2 * 4 / 1e6

    def tell(ops, _, states):
        return ops.attention(*ops.split(states, (WIDTH, WIDTH, WIDTH)), attention)

    ids = np.random.default_rng(1).integers(0, ROWS, tokens)
    BACKENDS[backend](weights, [600], ids[:600], tell)
    forget_peak()
    before = peak_mb()
    BACKENDS[backend](weights, [tokens], ids, tell)
    assert peak_mb() - before < all_pairs_mb / 2


def test_buckets_are_exact_nearby_and_logarithmic_beyond(weights):
    bias = RelativeBias(find(weights, "by_distance"), 32)
    assert [bias.bucket(distance) for distance in (0, -1, -7, -8, -11, -12, -16, -32, -64, -127, -128, -5000)] == [
        *(0, 1, 7, 8, 8, 9, 10, 12, 14, 15, 15, 15)
    ]
    assert [bias.bucket(distance) for distance in (1, 7, 8, 64, 5000)] == [17, 23, 24, 30, 31]
