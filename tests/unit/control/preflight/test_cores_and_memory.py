"""The cores and the memory that a fleet needs are compared with those of the machine, and reported with numbers."""

from pathlib import Path

import pytest

from embedfleet.config.load import load
from embedfleet.control.host.gpu import Gpu
from embedfleet.control.models.folder import read_model_folder
from embedfleet.control.plan.machine import Machine
from embedfleet.control.preflight.cores_and_memory import Need, check_cores, check_memory, needs_of
from embedfleet.control.preflight.survey import Resources, Survey, SurveyedModel, survey_gpus
from embedfleet.system.cgroup import Memory, Quota

GB = 10**9
RESOURCES = Resources(2, 2, None, [], 1024)
T4 = Gpu(0, "GPU-0", "Tesla T4", 75, 15 * GB, 15 * GB)


def needs(root: Path, gpus=(), **flags: str) -> dict[str, tuple[int, int, int]]:
    """Return weights, copies and replicas by service."""
    file = root / "fleet.toml"
    file.touch()
    settings = load(file, {}, {key.replace("__", "."): value for key, value in flags.items()})
    models = {
        service.name: SurveyedModel(read_model_folder(root / service.engine.model))
        for service in settings.services
        if (root / service.engine.model).is_dir()
    }
    survey = Survey(Machine(2, tuple(gpus)), RESOURCES, models=models)
    return {need.service: (need.weights_bytes, need.copies, need.replicas) for need in needs_of(settings, survey)}


def make_model(folder: Path, *sizes: int) -> None:
    folder.mkdir(parents=True)
    names = ["model.safetensors", *(f"other-{number}.bin" for number in range(len(sizes) - 1))]
    for name, size in zip(names, sizes, strict=True):
        (folder / name).write_bytes(bytes(size))


@pytest.mark.parametrize(
    ("machine", "allowed", "quota", "expected"),
    [
        (64, 64, None, "64 of 64 cores"),
        (64, 8, None, "8 of 64 cores: this process may not run on the others (taskset, cpuset)"),
        (64, 64, Quota(1.5, "cpu.max of /g"), "2 of 64 cores: cpu.max of /g allows 1.5"),
        (64, 64, Quota(0.1, "cpu.max of /g"), "1 of 64 cores: cpu.max of /g allows 0.1"),
        (64, 2, Quota(8.0, "cpu.max of /g"), "2 of 64 cores: this process may not run on the others (taskset, cpuset)"),
        (2, 2, Quota(2.0, "cpu.max of /g"), "2 of 2 cores"),
    ],
)
def test_cores_are_reported_with_the_limit_that_applies(machine, allowed, quota, expected):
    assert check_cores(Resources(machine, allowed, quota, [], 1024)).message == expected


def test_replicas_that_share_weights_need_them_once(tmp_path):
    make_model(tmp_path / "m", 1000, 5000)  # only the weights that the model uses are counted
    shared = {"embedder__model": "m", "embedder__replicas": "3", "reranker__enabled": "false"}
    assert needs(tmp_path, **shared) == {"embedder": (1000, 1, 3)}
    assert needs(tmp_path, **shared, embedder__packed_dir="") == {"embedder": (1000, 3, 3)}
    assert needs(tmp_path, **shared, embedder__backend="torch") == {"embedder": (1000, 3, 3)}
    assert needs(tmp_path, **shared | {"embedder__replicas": "1"}) == {"embedder": (1000, 1, 1)}


def test_only_processes_in_the_memory_of_this_machine_are_counted(tmp_path):
    elsewhere = {"embedder__replicas": "http://a:1", "reranker__backend": "torch", "reranker__device": "cuda:1"}
    assert needs(tmp_path, **elsewhere) == {}
    assert needs(tmp_path, gpus=(T4,)) == {}
    assert list(needs(tmp_path, gpus=(T4,), reranker__driver="process")) == ["reranker"]


def test_the_size_of_the_built_in_model_is_known_and_that_of_a_hub_model_is_not(tmp_path):
    found = needs(tmp_path, embedder__model="builtin", reranker__model="acme/tiny")
    assert 90_000_000 < found["embedder"][0] < 92_000_000
    assert found["reranker"][0] == 0


def test_enough_memory_is_reported_with_the_need():
    check = check_memory(
        [Need("a", GB, 2, 2)], [Memory(8 * GB, 4 * GB, "m"), Memory(64 * GB, 60 * GB, "/proc/meminfo")]
    )
    assert check.state == "ok"
    assert check.message == "about 2.10 GB needed (a 2.10 GB), 4.00 GB of 8.00 GB are left: m"


def test_too_little_free_memory_is_a_warning():
    there = [Memory(8 * GB, 4 * GB, "near"), Memory(64 * GB, GB, "far")]
    check = check_memory([Need("a", GB, 1, 2), Need("b", GB, 1, 2)], there)
    assert check.state == "warn"
    assert check.message == "the replicas need about 2.20 GB (a 1.10 GB, b 1.10 GB), 1.00 GB of 64.00 GB are left: far"
    assert check.hint


def test_a_model_that_can_never_fit_blocks_the_start():
    check = check_memory([Need("a", 9 * GB, 1, 1), Need("b", GB, 1, 1)], [Memory(2 * GB, 2 * GB, "m")])
    assert (check.state, check.message) == ("blocked", "the weights of a are 9.00 GB, and there are 2.00 GB in all: m")
    assert check_memory([Need("a", 8 * GB, 1, 1)], [Memory(2 * GB, 2 * GB, "m")]).state == "warn"


def test_the_machine_has_memory():
    *_, machine = survey_gpus(load(None, {}, {"fleet.gpu": "CPU"})).resources.memories
    assert 0 < machine.left_bytes <= machine.limit_bytes
