"""Packed weights give the same numbers, are made once, are made again when outdated, and never prevent serving."""

import logging
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.errors import WeightsChanged
from tests.services.m3 import make_m3
from tests.services.models import make_bert, make_xlm

LENGTHS = np.array([7, 3, 40], dtype=np.int64)
IDS = np.random.default_rng(0).integers(5, 30_000, LENGTHS.sum())
TYPES = np.zeros_like(IDS)


def outputs(folder, packed=None):
    spec = read_model(folder)
    return OnnxBackend.load(spec, packed).forward(IDS, TYPES, LENGTHS, outputs_of(spec))


def homes(root):
    return {path.name: (path / "model.onnx").stat().st_ino for path in root.iterdir() if path.is_dir()}


@pytest.fixture
def folder(tmp_path):
    return make_bert(tmp_path / "bert", labels=3)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: builtin_model(),
        lambda folder: make_bert(folder, labels=3),
        lambda folder: make_xlm(folder, dtype="float16"),
        make_m3,
    ],
    ids=["minilm", "classifier", "float16 on disk", "bge-m3 with its heads"],
)
def test_every_output_is_the_same_when_packed_and_when_found(tmp_path, make):
    folder = make(tmp_path / "m")
    own = outputs(folder)
    for _ in range(2):
        for ours, theirs in zip(outputs(folder, tmp_path / "packed"), own, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_replicas_that_start_together_make_it_once(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: outputs(folder, tmp_path / "packed")[0], range(4)))
    assert len(homes(tmp_path / "packed")) == 1
    assert [record.levelname for record in caplog.records if "packed" in record.message] == ["INFO"]
    for one in found:
        np.testing.assert_array_equal(one, found[0])


def test_it_is_made_once_and_replaced_when_the_weights_change(folder, tmp_path):
    root = tmp_path / "packed"
    before = outputs(folder, root)
    made = homes(root)
    outputs(folder, root)
    assert homes(root) == made
    shutil.copy(make_bert(tmp_path / "other", labels=3, seed=1) / "model.safetensors", folder)
    after = outputs(folder, root)
    assert len(homes(root)) == 1
    assert homes(root).keys() != made.keys()
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(after[0], outputs(folder)[0])


def test_models_of_several_folders_live_beside_each_other(folder, tmp_path):
    outputs(folder, tmp_path / "packed")
    outputs(make_bert(tmp_path / "other", labels=3), tmp_path / "packed")
    assert len(homes(tmp_path / "packed")) == 2


def write(file, data):
    file.chmod(0o600)
    file.write_bytes(data)


def cut(home):
    file = home / "model.onnx.weights"
    write(file, file.read_bytes()[:-1])


def zero(home):
    """Overwrite part of the weights with zeros, as a crash may."""
    file = home / "model.onnx.weights"
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100_000] = bytes(100_000)
    write(file, data)


def flip(home):
    """Flip one bit of a weight."""
    file = home / "model.onnx.weights"
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    write(file, data)


def spoil(home):
    write(home / "model.onnx", bytes((home / "model.onnx").stat().st_size))


def overwritten(text):
    return lambda home: write(home / "complete.json", text.encode())


def swap(home):
    """Change an output in the manifest, which stays valid JSON of the right shape."""
    manifest = (home / "complete.json").read_text()
    write(home / "complete.json", manifest.replace("classes", "states").encode())


def lose(name):
    return lambda home: (home / name).unlink()


def become_a_folder(home):
    shutil.rmtree(home / "model.onnx.weights", ignore_errors=True)
    (home / "model.onnx.weights").unlink()
    (home / "model.onnx.weights").mkdir()


def become_a_file(home):
    shutil.rmtree(home)
    home.write_text("no folder")


def become_a_link(home):
    shutil.rmtree(home)
    home.symlink_to("nowhere")


HARMS = {
    "cut": cut,
    "zeros": zero,
    "a bit": flip,
    "another graph": spoil,
    "a manifest of another shape": overwritten("[]"),
    "half a manifest": overwritten('{"digest": "0", "said'),
    "an empty manifest": overwritten(""),
    "a manifest of wrong types": overwritten('{"digest": 3, "said": null}'),
    "a deep manifest": overwritten("[" * 100_000),
    "an edited manifest": swap,
    "no manifest": lose("complete.json"),
    "no graph": lose("model.onnx"),
    "no weights": lose("model.onnx.weights"),
    "a folder for the weights": become_a_folder,
    "a file for the folder": become_a_file,
    "a link for the folder": become_a_link,
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_changed_files_are_removed_with_a_warning_and_made_again(folder, tmp_path, harm, caplog):
    root = tmp_path / "packed"
    own = outputs(folder, root)
    (name,) = homes(root)
    harm(root / name)
    np.testing.assert_array_equal(outputs(folder, root)[0], own[0])
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "thrown away and made anew" in warning
    assert str(root / name) in warning
    made = homes(root)
    assert list(made) == [name]
    outputs(folder, root)
    assert homes(root) == made


def test_other_files_beside_packed_weights_are_left_alone(folder, tmp_path, caplog):
    root = tmp_path / "packed"
    outputs(folder, root)
    made = homes(root)
    (name,) = made
    (root / name / "notes.txt").write_text("mine")
    (root / "others.txt").write_text("theirs")
    outputs(folder, root)
    assert homes(root) == made
    assert (root / name / "notes.txt").read_text() == "mine"
    assert (root / "others.txt").read_text() == "theirs"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_packed_files_are_read_only_and_readable_by_their_owner_alone(folder, tmp_path):
    outputs(folder, tmp_path / "packed")
    files = list((tmp_path / "packed").glob("*/*"))
    assert {file.stat().st_mode & 0o777 for file in files} == {0o400}
    assert {file.parent.stat().st_mode & 0o777 for file in files} == {0o700}
    assert len(files) == 3


def test_other_weights_of_the_same_name_size_and_time_are_noticed(folder, tmp_path):
    """`cp -p` copies a fine-tune whose file has the same time."""
    root = tmp_path / "packed"
    before = outputs(folder, root)[0]
    file = folder / "model.safetensors"
    was = file.stat()
    file.write_bytes((make_bert(tmp_path / "other", labels=3, seed=1) / file.name).read_bytes())
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    now = file.stat()
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (was.st_ino, was.st_size, was.st_mtime_ns)
    after = outputs(folder, root)[0]
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, outputs(folder)[0])


def overwrite(file):
    with file.open("rb+") as stream:
        stream.seek(file.stat().st_size // 2)
        stream.write(bytes(4096))


def append(file):
    with file.open("ab") as stream:
        stream.write(b"0")


def shorten(file):
    os.truncate(file, 100)


def copy_over(file):
    """`cp -p` copies another file of the same size."""
    file.write_bytes(bytes(file.stat().st_size))
    os.utime(file, (1, 1))


@pytest.mark.parametrize("harm", [overwrite, append, shorten, copy_over])
def test_changed_mapped_weights_are_never_computed_with(folder, tmp_path, harm):
    spec = read_model(folder)
    backend, other = (OnnxBackend.load(spec, tmp_path / "packed") for _ in range(2))
    (file,) = (tmp_path / "packed").glob("*/model.onnx.weights")
    backend.check()
    file.chmod(0o600)
    backend.check()  # new permissions change no content
    harm(file)
    for one in (backend, other):
        with pytest.raises(WeightsChanged, match=re.escape(str(file))):
            one.check()
        with pytest.raises(WeightsChanged, match="written to while it was mapped"):
            one.forward(IDS, TYPES, LENGTHS, outputs_of(spec))
    np.testing.assert_array_equal(outputs(folder, tmp_path / "packed")[0], outputs(folder)[0])


def test_a_replica_goes_on_when_its_packed_weights_are_removed(folder, tmp_path):
    spec = read_model(folder)
    backend = OnnxBackend.load(spec, tmp_path / "packed")
    own = backend.forward(IDS, TYPES, LENGTHS, outputs_of(spec))[0]
    shutil.rmtree(tmp_path / "packed")
    np.testing.assert_array_equal(backend.forward(IDS, TYPES, LENGTHS, outputs_of(spec))[0], own)


def test_unfinished_files_are_removed(folder, tmp_path):
    outputs(folder, tmp_path / "packed")
    (name,) = homes(tmp_path / "packed")
    (tmp_path / "packed" / name).rename(tmp_path / "packed" / f"{name}.part")
    outputs(folder, tmp_path / "packed")
    assert [path.suffix for path in (tmp_path / "packed").iterdir() if path.is_dir()] == [""]


def a_file_for_the_folder(root):
    root.write_text("a file where a folder should be")


def a_folder_for_the_lock(root):
    spare = root.with_name("spare")
    outputs(root.with_name("bert"), spare)
    (lock,) = spare.glob("*.lock")
    (root / lock.name).mkdir(parents=True)


@pytest.mark.parametrize("harm", [a_file_for_the_folder, a_folder_for_the_lock])
def test_where_nothing_can_be_written_each_replica_has_its_own_weights(folder, tmp_path, harm, caplog):
    harm(tmp_path / "packed")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(outputs(folder, tmp_path / "packed")[0], outputs(folder)[0])
    assert "weights are not shared" in caplog.text
    assert str(tmp_path / "packed") in caplog.text


ON_A_SMALL_DISK = """
mount -t tmpfs -o size={size},mode=700 none {root} && {python} - <<END
import logging, sys
logging.basicConfig(format="%(message)s")
from pathlib import Path
import numpy as np
from embedfleet.engine.onnx import model
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.onnx.backend import OnnxBackend
if {blind}:
    model._DISK_TO_PACK = 0
spec, ids = read_model(Path("{folder}")), np.arange(5, 12)
def rows(root):
    return OnnxBackend.load(spec, root).forward(ids, 0 * ids, np.array([7]), outputs_of(spec))[0]
assert np.array_equal(rows(Path("{root}")), rows(None))
assert not [*Path("{root}").glob("*/*")]
END
"""


@pytest.mark.parametrize(
    ("size", "blind"), [("3m", False), ("3m", True), ("6m", True)], ids=["seen before", "found", "late"]
)
def test_a_full_disk_is_reported_with_its_path_and_costs_only_memory(folder, tmp_path, size, blind):
    """``blind``: the check of disk space passes, as if another program took the space later."""
    root = tmp_path / "packed"
    root.mkdir()
    script = ON_A_SMALL_DISK.format(size=size, root=root, python=sys.executable, blind=blind, folder=folder)
    done = subprocess.run(["unshare", "-rm", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = filter(None, done.stderr.splitlines())
    assert line.startswith("weights are not shared, this replica has its own: no space left on the disk of")
    assert str(root) in line
    assert blind or ("are needed" in line and "are free" in line)
