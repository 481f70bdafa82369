"""Packed weights: the same numbers, made once, made anew when they must be, and never in the way."""

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embedfleet.engine.builtin import builtin_model
from embedfleet.engine.heads import outputs_of
from embedfleet.engine.model import read_model
from embedfleet.engine.onnx_backend import OnnxBackend
from tests.services.m3 import make_m3
from tests.services.models import make_bert, make_xlm

LENGTHS = np.array([7, 3, 40], dtype=np.int64)
IDS = np.random.default_rng(0).integers(5, 30_000, LENGTHS.sum())
TYPES = np.zeros_like(IDS)


def outputs(folder, packed=None):
    spec = read_model(folder)
    return OnnxBackend(spec, packed).forward(IDS, TYPES, LENGTHS, outputs_of(spec))


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
def test_every_output_is_the_same_number_when_made_and_when_found(tmp_path, make):
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


def test_it_is_made_once_and_anew_for_other_weights_and_the_old_one_goes(folder, tmp_path):
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


def cut(home):
    file = home / "model.onnx.weights"
    file.write_bytes(file.read_bytes()[:-1])


def unstamp(home):
    (home / "complete.json").write_text("[]")


def spoil(home):
    file = home / "model.onnx"
    file.write_bytes(b"\0" * file.stat().st_size)


@pytest.mark.parametrize(
    ("harm", "remade"), [(cut, True), (unstamp, True), (spoil, False)], ids=["cut", "without a stamp", "spoilt"]
)
def test_what_is_not_whole_is_not_used_and_made_anew_at_once_or_at_the_next_start(folder, tmp_path, harm, remade):
    root = tmp_path / "packed"
    own = outputs(folder, root)
    (name,) = made = homes(root)
    with (root / name / "model.onnx").open("rb"):  # kept open, so that no other file can have its inode
        harm(root / name)
        for is_there in (remade, True):
            np.testing.assert_array_equal(outputs(folder, root)[0], own[0])
            assert (name in homes(root)) == is_there
            assert homes(root) != made


def test_what_was_never_finished_is_cleared_away(folder, tmp_path):
    outputs(folder, tmp_path / "packed")
    (name,) = homes(tmp_path / "packed")
    (tmp_path / "packed" / name).rename(tmp_path / "packed" / f"{name}.part")
    outputs(folder, tmp_path / "packed")
    assert [path.suffix for path in (tmp_path / "packed").iterdir() if path.is_dir()] == [""]


def test_where_nothing_can_be_written_each_has_its_own(folder, tmp_path, caplog):
    (tmp_path / "packed").write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(outputs(folder, tmp_path / "packed")[0], outputs(folder)[0])
    assert "weights are not shared" in caplog.text
    assert str(tmp_path / "packed") in caplog.text
