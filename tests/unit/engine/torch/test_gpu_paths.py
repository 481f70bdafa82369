"""The paths that the PyTorch backend takes on a GPU compute on the CPU what its ordinary path computes.

No GPU is used. Kernels for sequences of any lengths have a stand-in that computes by definition, and recorded passes
are computed anew; all else is the code that runs on a GPU.
"""

import asyncio
import json
import logging
import shutil
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.fuzz.folders import KINDS, make_files, write_files
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.engine import Engine
from embedfleet.engine.families.ops import Attention
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.loaded_model import load_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.torch.backend import TorchBackend
from embedfleet.engine.torch.device import CpuDevice
from embedfleet.engine.torch.grids import power_of_two
from embedfleet.engine.torch.pass_shape import fixed_shapes
from embedfleet.engine.torch.recorded_passes import RecordedPasses
from embedfleet.engine.torch.variable_length import ByDefinition, TorchEfficient, TorchFlash, choose, kernels_of_gpu
from embedfleet.errors import ModelError, OutOfMemory
from embedfleet.metrics import TEI, Registry

CPU = torch.device("cpu")
TOLERANCE = 1e-5
LOGGERS = "embedfleet.engine.torch"
FAMILIES = [name for name in KINDS if "onnx" not in name]
RECORDED = {  # families without position biases, convolutions and experts
    *("bert with modules", "bge-m3", "xlm-roberta reranker", "distilbert splade", "modernbert classifier", "qwen3"),
    *("gemma", "mistral", "judge", "gte", "nomic"),
}


@cache
def folder_of(kind: str) -> Path:
    folder = Path(mkdtemp(prefix="embedfleet-family-"))
    write_files(folder, make_files(KINDS[kind]))
    return folder


@pytest.fixture(scope="module", autouse=True)
def _folders():
    yield
    for kind in FAMILIES:
        shutil.rmtree(folder_of(kind), ignore_errors=True)
    folder_of.cache_clear()


def backend_of(kind: str, *, precision="float32", **options) -> TorchBackend:
    spec = read_model(folder_of(kind))
    torch.set_num_threads(1)
    return TorchBackend(spec, Weights(spec.weights_file, spec.family.anchor), CPU, precision, **options)


def batch_of(kind: str, lengths) -> tuple:
    spec = read_model(folder_of(kind))
    lengths = np.minimum(np.array(lengths), spec.max_input_length)
    ids = np.random.default_rng(3).integers(0, spec.family.vocabulary, lengths.sum())
    return ids, np.zeros_like(ids), lengths, outputs_of(spec)


def assert_same(found, wanted) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)


RANDOM_LENGTHS = np.random.default_rng(5).integers(1, 39, 23)


@pytest.mark.parametrize("kernel", [None, ByDefinition()], ids=["in grids", "at once"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_each_family_is_computed_alike_on_the_paths_of_a_gpu(kind, kernel):
    exact, of_gpu = backend_of(kind), backend_of(kind, kernel=kernel, padded=power_of_two)
    for lengths in (RANDOM_LENGTHS, [7], [16, 16], [1, 2, 1]):
        batch = batch_of(kind, lengths)
        assert_same(of_gpu.forward(*batch), exact.forward(*batch))


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_recorded_pass_of_a_fixed_shape_gives_the_results_of_an_exact_one(kind, caplog):
    exact, recorded = backend_of(kind), backend_of(kind, kernel=ByDefinition(), padded=power_of_two)
    with caplog.at_level(logging.INFO, LOGGERS):
        recorded.record(fixed_shapes(640, 24))
    assert bool(recorded.recorded_shapes) == (kind in RECORDED), caplog.text
    assert ("are not recorded" in caplog.text) != (kind in RECORDED)
    for lengths in (np.minimum(RANDOM_LENGTHS, 24), [7], [24] * 25, [3] * 130, RANDOM_LENGTHS):
        batch = batch_of(kind, lengths)
        assert_same(recorded.forward(*batch), exact.forward(*batch))


def test_threads_share_recorded_passes_without_mixing_their_batches():
    backend, exact = backend_of("bge-m3", kernel=ByDefinition()), backend_of("bge-m3")
    backend.record(fixed_shapes(128, 24))
    batches = [batch_of("bge-m3", [length, 24 - length]) for length in range(1, 24)]
    batches = [((ids + number) % 90, *rest) for number, (ids, *rest) in enumerate(batches)]
    found: dict[int, object] = {}

    def run(first: int) -> None:
        for number in range(first, len(batches), 2):
            found[number] = backend.forward(*batches[number])

    threads = [threading.Thread(target=run, args=(first,)) for first in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, batch in enumerate(batches):
        assert_same(found[number], exact.forward(*batch))


class Counting(TorchDispatchMode):
    """Counts the operations that PyTorch runs; on a GPU most of them start a kernel."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(backend, batch) -> int:
    backend.forward(*batch)  # reads the weights
    with Counting() as counting:
        backend.forward(*batch)
    return counting.count


ALIKE, DIFFERENT = [20, 30] * 8, [*range(17, 33)]


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_number_of_operations_does_not_grow_with_that_of_lengths(kind):
    alike, different = batch_of(kind, ALIKE), batch_of(kind, DIFFERENT)
    assert (len(set(alike[2])), len(set(different[2]))) == (2, 16)
    of_gpu = backend_of(kind, kernel=ByDefinition(), padded=power_of_two)
    assert operations(of_gpu, different) == operations(of_gpu, alike)
    exact = backend_of(kind)
    assert operations(exact, different) > 3 * operations(of_gpu, different)


class Wrong(ByDefinition):
    name = "one that mixes sequences"

    def __call__(self, query, key, value, *, boundaries, longest, attention):
        whole = torch.tensor([0, len(query)], dtype=torch.int32)
        return super().__call__(query, key, value, boundaries=whole, longest=longest, attention=attention)


class NotANumber(ByDefinition):
    name = "one that gives no numbers"

    def __call__(self, query, key, value, *, boundaries, longest, attention):
        given = super().__call__(query, key, value, boundaries=boundaries, longest=longest, attention=attention)
        return given * float("nan")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_only_a_kernel_that_computes_attention_is_chosen(dtype, caplog):
    with caplog.at_level(logging.INFO, LOGGERS):
        kernel = choose([Wrong, NotANumber, ByDefinition], CPU, dtype)
    assert type(kernel) is ByDefinition
    refused = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(refused) == 2
    assert "mixes sequences is not used: it computes something else" in refused[0]


def test_a_gpus_kernels_are_refused_where_there_is_no_gpu(caplog):
    with caplog.at_level(logging.INFO, LOGGERS):
        assert choose(kernels_of_gpu(), CPU, torch.float16) is None
    assert [record.message.split()[2] for record in caplog.records] == ["FlashPackage", "TorchFlash", "TorchEfficient"]


ATTENTIONS = [
    Attention(4, 64),
    Attention(4, 64, is_causal=True),
    Attention(4, 64, key_heads=2),
    Attention(4, 64, window=5),
    Attention(4, 64, is_causal=True, window=5),
]


@pytest.mark.parametrize("make", [TorchFlash, TorchEfficient])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_gpus_kernels_accept_their_arguments(make, attention):
    """On tensors without values, for which PyTorch checks arguments and shapes only."""
    kernel = make()
    if kernel.computes(attention):
        query, key, value = (
            torch.empty(20, heads, 64, dtype=torch.float16, device="meta")
            for heads in (attention.heads, attention.key_heads, attention.key_heads)
        )
        boundaries = torch.empty(4, dtype=torch.int32, device="meta")
        mixed = kernel(query, key, value, boundaries=boundaries, longest=9, attention=attention)
        assert mixed.shape == query.shape
    else:
        assert make is TorchEfficient
        assert attention.window is not None


class Small(CpuDevice):
    """A device whose memory holds recordings of few tokens."""

    def record(self, run):
        if len(run()[0]) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().record(run)


def test_passes_that_do_not_fit_into_memory_are_computed_without_a_recording(caplog):
    recorded = RecordedPasses(Small(CPU), lambda numbers, shape: [torch.zeros(shape.tokens)])
    with caplog.at_level(logging.INFO, LOGGERS):
        recorded.record(fixed_shapes(128, 24))
    assert [shape.tokens for shape in recorded.shapes] == [64, 80, 96]
    assert recorded.find(np.array([24] * 4)) is not None
    assert recorded.find(np.array([24] * 5)) is None
    assert "does not suffice to record a pass of 128 tokens" in caplog.text
    assert "3 passes of up to 96 tokens are recorded" in caplog.text


class Failing(CpuDevice):
    """A device that cannot record."""

    def record(self, run):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_a_device_that_cannot_record_computes_all_passes_without_a_recording(caplog):
    recorded = RecordedPasses(Failing(CPU), lambda numbers, shape: [torch.zeros(shape.tokens)])
    with caplog.at_level(logging.INFO, LOGGERS):
        recorded.record(fixed_shapes(128, 24))
    assert not recorded.shapes
    assert "operation not permitted when stream is capturing" in caplog.text


def test_a_tensor_that_does_not_fit_the_config_is_refused_when_passes_are_recorded(tmp_path):
    shutil.copytree(folder_of("bge-m3"), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"intermediate_size": 99}))
    spec = read_model(tmp_path / "model")
    backend = TorchBackend(spec, Weights(spec.weights_file, spec.family.anchor), CPU, "float32", kernel=ByDefinition())
    with pytest.raises(ModelError, match="99"):
        backend.record(fixed_shapes(64, 24))


@pytest.mark.parametrize("kind", ["bge-m3", "qwen3", "jina", "gemma", "mpnet", "gte"])
def test_vectors_pooled_on_the_device_are_those_pooled_on_the_host(kind):
    """Kinds with the first token, the last one and the mean, with layers after it; mpnet and gte pool otherwise."""
    spec = read_model(folder_of(kind))
    weights = Weights(spec.weights_file, spec.family.anchor)
    pooling = Noting(spec, weights, CPU, "float32", kernel=ByDefinition(), padded=power_of_two, may_pool=True)
    pooling.record(fixed_shapes(128, 24))
    assert pooling.pools == (kind not in {"mpnet", "gte"})
    settings = EngineSettings(model=str(folder_of(kind)), backend="torch")
    model = load_model(settings)
    texts = ["one", "a few words more", "long " * 30]

    async def vectors(engine, prompts):
        found = []
        for text in texts:
            encoded = await engine.encode([text, "other"], truncate=True, direction="right", prompt=None)
            skipped = [replace(item, skipped=prompts) for item in encoded]
            inference = await engine.infer(skipped, (Output.VECTOR,))
            found += [rows for (rows,) in inference.outputs]
        return found

    results = []
    for backend in (model.backend, pooling):
        engine = Engine(replace(model, backend=backend), settings, Registry(TEI))
        engine.start()
        try:
            results.append([vector for skipped in (0, 1) for vector in asyncio.run(vectors(engine, skipped))])
        finally:
            engine.close()
    assert_same(*results)
    prompted = {Output.STATES}  # prompts are not pooled, which only the host does
    assert pooling.asked == ({Output.POOLED} | prompted if pooling.pools else prompted)


class Noting(TorchBackend):
    """A backend that notes the outputs that it computes."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.asked = set()

    def forward(self, ids, types, lengths, outputs):
        self.asked |= set(outputs)
        return super().forward(ids, types, lengths, outputs)


def test_only_pooled_rows_leave_the_device():
    pooling = backend_of("bge-m3", kernel=ByDefinition(), may_pool=True)
    ids, types, lengths, _ = batch_of("bge-m3", [5, 7])
    (rows,) = pooling.forward(ids, types, lengths, (Output.POOLED,))
    (states,) = pooling.forward(ids, types, lengths, (Output.STATES,))
    np.testing.assert_allclose(rows, states[[0, 5]], atol=TOLERANCE)


def test_an_engine_has_a_thread_for_each_pass_that_a_backend_needs_at_once():
    settings = EngineSettings(model=str(folder_of("bge-m3")), backend="torch")
    model = load_model(settings)
    model.backend.passes_at_once = 2
    engine = Engine(model, settings, Registry(TEI))
    before = threading.active_count()
    engine.start()
    try:
        assert threading.active_count() == before + 2
    finally:
        engine.close()


def test_out_of_memory_names_the_size_of_the_batch():
    backend = backend_of("bge-m3")
    backend._device = Exhausted(CPU)
    with pytest.raises(OutOfMemory, match="12 tokens in 2 sequences"):
        backend.forward(*batch_of("bge-m3", [5, 7]))


class Exhausted(CpuDevice):
    """A device without free memory."""

    def send(self, numbers):
        raise torch.OutOfMemoryError("CUDA out of memory")
