"""The driver, the GPUs and their memory are checked before a container gets a GPU."""

from dataclasses import replace

import pytest

from embedfleet.config.load import load
from embedfleet.control.docker.client import ExecResult
from embedfleet.control.host.gpu import Gpu
from embedfleet.control.host.nvml import NvidiaDriver
from embedfleet.control.models.folder import read_model_folder
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.specs import ContainerSpec
from embedfleet.control.preflight.gpu_checks import check_gpu_memory, check_gpus, trial_result
from embedfleet.control.preflight.proposal import Proposal
from embedfleet.control.preflight.survey import Resources, Survey, SurveyedModel
from embedfleet.errors import UsageError
from tests.unit.control.docker.test_container import LOADING

GB = 10**9
T4 = Gpu(0, "GPU-0", "Tesla T4", 75, 15 * GB, 15 * GB)
RESOURCES = Resources(2, 2, None, [], 1024)


def proposal(root, *gpus: Gpu, driver: str = "550.54.15", replicas: int = 1, weights: int = 0, **survey) -> Proposal:
    """A fleet of one service whose replicas are containers on the first GPU."""
    flags = {"reranker.enabled": "false", "embedder.driver": "docker"}
    (root / "fleet.toml").touch()
    models = {}
    if weights:
        (root / "m").mkdir()
        with (root / "m/model.safetensors").open("wb") as file:
            file.truncate(weights)  # sparse: it takes no room
        models = {"embedder": SurveyedModel(read_model_folder(root / "m"))}
    made = Survey(Machine(2, gpus), RESOURCES, driver=NvidiaDriver(driver, gpus) if driver else None, models=models)
    specs = [
        ContainerSpec(f"embedder-{number}", "embedder", "replica", image="i", gpu="GPU-0") for number in range(replicas)
    ]
    return Proposal(load(root / "fleet.toml", {}, flags), replace(made, **survey), specs, None, {"i": "1"})


def states(checks) -> dict[str, str]:
    return {check.id: check.state for check in checks}


def test_a_driver_and_its_gpus_are_reported(tmp_path):
    present, kind = check_gpus(proposal(tmp_path, T4))
    assert present.message == "NVIDIA driver 550.54.15 with 1 GPUs"
    assert (kind.state, kind.message) == ("ok", "0 Tesla T4 (turing)")


def test_a_machine_without_a_driver_uses_no_gpu(tmp_path):
    (kind,) = check_gpus(proposal(tmp_path, driver=""))
    assert (kind.state, kind.message) == ("ok", "no GPU is used")


@pytest.mark.parametrize(
    ("driver", "warning"),
    [
        ("525.60.13", ""),
        ("525.59.1", "is older than 525.60"),
        ("470.82", "is older than 525.60"),
        ("599.9", ""),
        ("600.1", "entrypoint misreads driver 600.1"),
    ],
)
def test_a_driver_that_does_not_suit_teis_images_is_a_warning(tmp_path, driver, warning):
    warned = [check for check in check_gpus(proposal(tmp_path, T4, driver=driver)) if check.state == "warn"]
    assert [check.id for check in warned] == (["driver.version"] if warning else [])
    assert all(warning in check.message for check in warned)


@pytest.mark.parametrize(("fault", "name"), [("driver_fault", "driver.present"), ("gpu_fault", "gpu.type")])
def test_a_fault_of_the_driver_or_the_gpus_blocks_the_start(tmp_path, fault, name):
    *_, last = check_gpus(proposal(tmp_path, T4, **{fault: UsageError("it does not answer", "nvidia-smi")}))
    assert (last.id, last.state, last.message, last.hint) == (name, "blocked", "it does not answer", "nvidia-smi")


def test_a_gpu_in_use_is_reported_with_the_processes(tmp_path):
    *_, busy = check_gpus(proposal(tmp_path, replace(T4, processes=(7, 8))))
    assert (busy.id, busy.state) == ("gpu.busy", "warn")
    assert busy.message == "GPU 0 (Tesla T4) is used by processes 7, 8"


@pytest.mark.parametrize(
    ("free", "replicas", "state"),
    [(62 * GB // 10, 2, "ok"), (6 * GB, 2, "blocked"), (31 * GB // 10, 1, "ok"), (3 * GB, 1, "blocked")],
)
def test_the_memory_of_a_gpu_is_compared_with_half_the_weights_of_each_replica(tmp_path, free, replicas, state):
    """4 GB of float32 are 2 GB in float16, and a context takes about 1 GB."""
    made = proposal(tmp_path, replace(T4, free_bytes=free), replicas=replicas, weights=4 * GB)
    assert states(check_gpu_memory(made)) == {"gpu.memory": state}


@pytest.mark.parametrize("change", [{"containers": [LOADING]}, {"machine": Machine(2, (replace(T4, memory_bytes=0),))}])
def test_memory_that_our_containers_use_or_that_is_unknown_blocks_nothing(tmp_path, change):
    made = proposal(tmp_path, replace(T4, free_bytes=1), weights=4 * GB, **change)
    assert list(check_gpu_memory(made)) == []


def test_a_failed_command_is_reported_with_the_end_of_its_output():
    good = trial_result("x", ExecResult(0, "noise"), "it works")
    assert (good.state, good.message) == ("ok", "it works")
    bad = trial_result("x", ExecResult(7, "a" * 1000 + "why\n"), "it works", "mend it")
    assert (bad.state, bad.hint) == ("blocked", "mend it")
    assert bad.message.startswith("the command ended with code 7: aaa")
    assert bad.message.endswith("why")
    assert len(bad.message) < 450
