"""The choice of a backend, and the combinations of settings that are refused."""

import sys

import pytest

from embedfleet.engine.backends import make_backend
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError
from tests.services.models import make_xlm
from tests.services.onnx_export import to_onnx

WITH_VNNI = "flags : fpu sse4_2 avx2 avx512f avx512_vnni"
WITHOUT = "flags : fpu sse4_2 avx avx2 fma"


@pytest.mark.parametrize(
    ("name", "device", "precision", "message"),
    [
        ("onnx", "cuda", "auto", "device is 'cuda'"),
        ("onnx", "cpu", "float16", "precision 'float16'"),
        ("torch", "tpu:0", "auto", "'tpu:0'"),
        ("torch", "meta", "auto", "'meta' is not supported"),
        ("torch", "cuda:99", "auto", "'cuda:99' is missing: PyTorch .* sees"),
    ],
)
def test_a_device_or_precision_that_a_backend_lacks_is_refused(name, device, precision, message):
    with pytest.raises(ModelError, match=message) as caught:
        make_backend(read_model(builtin_model()), EngineSettings(backend=name, device=device, precision=precision))
    assert caught.value.hint


def test_missing_pytorch_is_reported_with_a_way_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("torch.backend", "torch.ops"):
        monkeypatch.delitem(sys.modules, f"embedfleet.engine.{name}", raising=False)
    with pytest.raises(ModelError, match="backend torch needs PyTorch") as caught:
        make_backend(read_model(builtin_model()), EngineSettings(backend="torch"))
    assert "embedfleet[torch]" in caught.value.hint


def test_int8_is_used_only_if_set_and_if_backend_and_processor_have_it(tmp_path):
    spec = read_model(make_xlm(tmp_path / "m"))
    assert make_backend(spec, EngineSettings(precision="int8"), cpu_flags=WITH_VNNI).precision == "int8"
    assert make_backend(spec, EngineSettings(precision="auto"), cpu_flags=WITH_VNNI).precision == "float32"
    with pytest.raises(ModelError, match="needs a processor with"):
        make_backend(spec, EngineSettings(precision="int8"), cpu_flags=WITHOUT)
    with pytest.raises(ModelError, match="backend torch does not compute in int8") as caught:
        make_backend(spec, EngineSettings(backend="torch", precision="int8"), cpu_flags=WITH_VNNI)
    assert "backend to onnx" in caught.value.hint
    with pytest.raises(ModelError, match="device is 'cuda'"):
        make_backend(spec, EngineSettings(device="cuda", precision="int8"), cpu_flags=WITH_VNNI)


def test_int8_of_an_exported_model_is_refused(tmp_path):
    spec = read_model(to_onnx(make_xlm(tmp_path / "m")))
    with pytest.raises(ModelError, match=r"has only model\.onnx") as caught:
        make_backend(spec, EngineSettings(precision="int8"), cpu_flags=WITH_VNNI)
    assert "model.safetensors" in caught.value.hint
