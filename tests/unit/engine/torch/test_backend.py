"""The precisions and outputs of the PyTorch backend; `test_ops` and `test_families` compare its numbers."""

import numpy as np
import pytest
import torch

from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.engine.settings import EngineSettings
from embedfleet.model_folder.file_names import COLBERT_LINEAR, SPARSE_LINEAR
from tests.services.models import make_xlm

LENGTHS = np.array([7, 3, 7, 40])
IDS = np.random.default_rng(0).integers(1000, 20000, LENGTHS.sum())
TYPES = np.zeros_like(IDS)


def vectors(backend) -> np.ndarray:
    """The normalized mean state of each sequence."""
    (states,) = backend.forward(IDS, TYPES, LENGTHS, (Output.STATES,))
    assert states.dtype == np.float32
    means = np.array([part.mean(axis=0) for part in np.split(states, np.cumsum(LENGTHS)[:-1])])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_a_smaller_precision_moves_a_vector_by_so_much_at_most(precision, tolerance):
    spec = read_model(builtin_model())
    backend = make_backend(spec, EngineSettings(backend="torch", device="cpu", precision=precision))
    assert backend.precision == precision
    np.testing.assert_allclose(vectors(backend), vectors(OnnxBackend.load(spec)), atol=tolerance)


def test_all_of_bge_m3_comes_from_one_pass(tmp_path):
    folder = make_xlm(tmp_path / "bge-m3")
    width = read_model(folder).family.hidden_size
    torch.manual_seed(0)
    torch.save({"weight": torch.randn(1, width), "bias": torch.randn(1)}, folder / SPARSE_LINEAR)
    torch.save({"weight": torch.randn(width, width), "bias": torch.randn(width)}, folder / COLBERT_LINEAR)
    spec = read_model(folder)
    outputs = outputs_of(spec)
    assert outputs == (Output.STATES, Output.LEXICAL, Output.COLBERT)
    ids = IDS % spec.family.vocabulary
    backends = (make_backend(spec, EngineSettings(backend=name)) for name in ("torch", "onnx"))
    ours, theirs = (backend.forward(ids, TYPES, LENGTHS, outputs) for backend in backends)
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
