"""The driver's files show whether the machine has a GPU, without any library."""

import pytest

from embedfleet.control.host.nvml import has_gpu


def test_a_machine_without_the_drivers_files_has_no_gpu(tmp_path):
    assert not has_gpu(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    (tmp_path / "proc/driver/nvidia/gpus").mkdir(parents=True)
    assert not has_gpu(tmp_path)


@pytest.mark.parametrize("path", ["dev/nvidia0", "proc/driver/nvidia/gpus/0000:01:00.0"])
def test_either_of_the_drivers_files_shows_a_gpu(tmp_path, path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert has_gpu(tmp_path)
