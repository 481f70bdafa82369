"""The GPUs that a fleet may use: if the settings name a type, the machine must have it."""

import pytest

from embedfleet.config.load import load
from embedfleet.control.host.gpu import Gpu
from embedfleet.control.plan.usable_gpus import families_of, usable_gpus
from embedfleet.errors import UsageError

T4S = tuple(Gpu(number, f"GPU-{number}", "Tesla T4", 75, 16 << 30, 15 << 30) for number in range(2))
V100 = Gpu(0, "GPU-v", "Tesla V100", 70, 16 << 30, 15 << 30)


def gpus_for(wanted: str, gpus=T4S, **flags: str):
    settings = load(None, {}, {"fleet.gpu": wanted} | {key.replace("__", "."): value for key, value in flags.items()})
    return usable_gpus(settings, gpus)


def test_a_gpu_type_that_the_machine_has_is_accepted():
    assert gpus_for("T4") == gpus_for("auto") == T4S
    assert gpus_for("CPU") == ()


def test_a_gpu_type_that_differs_from_the_machines_is_refused_with_both_types():
    with pytest.raises(UsageError, match=r"H100 has compute capability 9.0, but GPU 0 .* is a Tesla T4 with 7.5"):
        gpus_for("H100")


def test_a_type_without_any_gpu_is_refused():
    with pytest.raises(UsageError, match="the settings ask for T4, but no NVIDIA driver shows a GPU"):
        gpus_for("T4", ())


def test_gpus_that_no_service_uses_contradict_nothing():
    mixed = (T4S[0], Gpu(1, "GPU-h", "NVIDIA H100", 90, 80 << 30, 79 << 30))
    assert gpus_for("T4", mixed, embedder__devices="0", reranker__devices="0") == mixed


@pytest.mark.parametrize("reranker", [{"driver": "process"}, {"replicas": "http://a:8080"}])
def test_gpus_that_no_container_is_put_on_contradict_nothing(reranker):
    mixed = (T4S[0], Gpu(1, "GPU-h", "NVIDIA H100", 90, 80 << 30, 79 << 30))
    flags = {f"reranker__{key}": value for key, value in reranker.items()}
    assert gpus_for("H100", mixed, embedder__devices="1", **flags) == mixed
    with pytest.raises(UsageError, match="GPU 0"):
        gpus_for("H100", mixed, **flags)


def test_a_gpu_without_an_image_is_refused_unless_an_image_is_set():
    with pytest.raises(UsageError, match=r"Tesla V100\) has compute capability 7.0, for which TEI has no image"):
        families_of(load(None, {}, {}), [V100])
    images = {"embedder.image": "mine:1", "reranker.image": "mine:1"}
    assert [family.name for family in families_of(load(None, {}, images), [V100]).values()] == ["other"]
    assert families_of(load(None, {}, {"embedder.driver": "process", "reranker.driver": "process"}), [V100]) == {}
