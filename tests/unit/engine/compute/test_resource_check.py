"""Memory and disk checks refuse only what cannot succeed, and warn of what may fail."""

import json
import re
import struct
from math import prod

import pytest

from bench.fuzz.folders import KINDS, make_files, write_files
from bench.fuzz.tokenizers import ROOM
from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute.resource_check import Memory, check_disk, check_memory, read_memory
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError, NoRoom

GB = 1_000_000_000
MEMINFO = """MemTotal:       24000000 kB
MemFree:        1000000 kB
MemAvailable:   8000000 kB
Buffers:          10000 kB
SwapFree:       2000000 kB
AnonPages:     12000000 kB
Shmem:          1000000 kB
HugePages_Total:       0
"""


def test_memory_is_what_is_available_and_at_most_what_programs_do_not_hold_and_swap(tmp_path):
    (tmp_path / "meminfo").write_text(MEMINFO)
    memory = read_memory(tmp_path / "meminfo")
    assert memory == Memory(left=13_000_000 * 1024, available=10_000_000 * 1024, swap=2_000_000 * 1024)
    here = read_memory()
    assert here is not None
    assert 0 < here.available < here.left


@pytest.mark.parametrize("text", ["", "MemTotal: many kB\n", "MemTotal: 3 kB\nSwapFree: 1 kB\n"])
def test_what_the_kernel_does_not_say_is_not_known(tmp_path, text):
    (tmp_path / "meminfo").write_text(text)
    assert read_memory(tmp_path / "meminfo") is None
    assert read_memory(tmp_path / "missing") is None


def test_what_cannot_fit_is_refused_with_need_rest_limit_and_what_to_do(tmp_path):
    with pytest.raises(NoRoom) as caught:
        check_memory(tmp_path, 3 * GB, 7 * GB, Memory(2 * GB, 1 * GB, limit="the cgroup /kubepods (memory.max)"))
    assert isinstance(caught.value, ModelError)
    said = "not enough memory: its weights take 3000 MB, the cgroup /kubepods (memory.max) has 1000 MB left"
    assert caught.value.message == f"{tmp_path}: {said}"
    assert "raise the limit" in caught.value.hint


def test_what_may_fit_is_tried_with_one_line_of_warning(tmp_path):
    warning = check_memory(tmp_path, 2 * GB, 5 * GB, Memory(2 * GB, 1 * GB))
    assert warning == (
        f"{tmp_path}: memory may not suffice: loading it takes up to about 5000 MB, this machine has 1000 MB left"
    )
    assert check_memory(tmp_path, 2 * GB, 5 * GB, Memory(9 * GB, 5 * GB)) == ""


def test_a_disk_without_room_is_named_with_both_numbers(tmp_path):
    check_disk(tmp_path, 1000)
    said = (
        rf"no space left on the disk of {re.escape(str(tmp_path))}: about 1000000000000 MB are needed, \d+ MB are free"
    )
    with pytest.raises(OSError, match=said):
        check_disk(tmp_path, 10**18)


def grow(folder, vocabulary, width):
    """Make a folder's weights huge, as a sparse file that takes no space on the disk."""
    config = json.loads((folder / "config.json").read_text())
    grown = {config["vocab_size"]: vocabulary, config["hidden_size"]: width}
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": vocabulary, "hidden_size": width}))
    file = folder / "model.safetensors"
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, end = {}, 0
    tensors = json.loads(data[8 : 8 + length])
    tensors.pop("__metadata__", None)
    for name, entry in tensors.items():
        shape = [grown.get(size, size) for size in entry["shape"]]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 4 * prod(shape)]}
        end += 4 * prod(shape)
    said = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(said)) + said)
    with file.open("rb+") as stream:
        stream.truncate(8 + len(said) + end)


def test_a_model_that_no_memory_holds_is_refused_before_its_weights_are_read(tmp_path):
    folder = tmp_path / "giant"
    write_files(folder, make_files(KINDS["bert with modules"]))
    for name in ("modules.json", "2_Dense/config.json"):
        (folder / name).unlink()
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == ROOM
    grow(folder, 10_000_000, 16_000)
    with pytest.raises(NoRoom, match=r"its weights take 64\d{4} MB, this machine has \d+ MB left"):
        make_backend(read_model(folder), EngineSettings())
