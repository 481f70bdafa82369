"""GPU types are known by name, whatever their spelling; whether the machine has one is seen in its files."""

import pytest

from embedfleet.control.gpu import check_type, has_gpu
from embedfleet.errors import UsageError


@pytest.mark.parametrize(
    "name", ["T4", "L4", "A100", "H100", "h200", "RTX-4090", "NVIDIA GeForce RTX 3090", "B200", "a10"]
)
def test_a_known_type_is_refused_for_what_is_missing(name):
    with pytest.raises(UsageError, match="is not in this version") as caught:
        check_type(name)
    assert "CPU" in caught.value.hint


@pytest.mark.parametrize("name", ["K80", "TPU", "T44"])
def test_an_unknown_type_is_told_the_known_ones(name):
    with pytest.raises(UsageError, match=f"{name} is no GPU type") as caught:
        check_type(name)
    for known in ("T4", "L4", "A100", "H100"):
        assert known in caught.value.hint.replace(";", ",").replace("known: ", "").split(", ")


def test_a_machine_without_the_drivers_files_has_no_gpu(tmp_path):
    assert not has_gpu(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    (tmp_path / "proc/driver/nvidia/gpus").mkdir(parents=True)
    assert not has_gpu(tmp_path)


@pytest.mark.parametrize("path", ["dev/nvidia0", "proc/driver/nvidia/gpus/0000:01:00.0"])
def test_either_of_the_drivers_files_is_a_gpu(tmp_path, path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert has_gpu(tmp_path)
