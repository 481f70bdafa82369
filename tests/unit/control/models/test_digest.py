"""The digest of a model folder changes with its content, and with nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from embedfleet.control.models.digest import digest_folder

WEIGHTS = 64 << 20  # too large to be read whole


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "model"
    (made / "1_Pooling").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    with (made / "model.safetensors").open("wb") as stream:
        stream.truncate(WEIGHTS)
    return made


def test_a_copy_has_the_same_digest_despite_other_names_times_and_notes(folder):
    copy = shutil.copytree(folder, folder.with_name("copy"))
    os.utime(copy / "config.json", (0, 0))
    (copy / "README.md").write_text("a note")
    (copy / ".git").mkdir()
    (copy / ".git" / "HEAD").write_text("ref")
    assert digest_folder(copy) == digest_folder(folder)


def test_a_snapshot_of_links_has_the_digest_of_its_files(folder):
    links = folder.with_name("links")
    links.mkdir()
    for file in folder.iterdir():
        (links / file.name).symlink_to(file)
    assert digest_folder(links) == digest_folder(folder)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "tokenizer.json"])
def test_a_small_file_counts_to_the_last_byte(folder, name):
    before = digest_folder(folder)
    (folder / name).write_text('{"pooling_mode_cls_token": true }')
    assert digest_folder(folder) != before


def test_files_that_swap_names_change_the_digest(folder):
    (folder / "a.json").write_text("1")
    (folder / "b.json").write_text("2")
    before = digest_folder(folder)
    (folder / "a.json").write_text("2")
    (folder / "b.json").write_text("1")
    assert digest_folder(folder) != before


@pytest.mark.parametrize(("start", "count"), [(0, 8), (WEIGHTS - 8, 8), (WEIGHTS // 3, WEIGHTS // 50)])
def test_a_change_at_the_ends_or_in_a_fiftieth_of_the_weights_changes_the_digest(folder, start, count):
    before = digest_folder(folder)
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\1" * count)
    assert digest_folder(folder) != before


def test_weights_of_another_size_change_the_digest(folder):
    before = digest_folder(folder)
    os.truncate(folder / "model.safetensors", WEIGHTS + 1)
    assert digest_folder(folder) != before


def test_unreadable_files_change_the_digest_and_pipes_do_not_block(folder, tmp_path):
    before = digest_folder(folder)
    (folder / "model.bin").symlink_to(tmp_path / "nowhere")
    assert digest_folder(folder) != before
    os.mkfifo(folder / "pipe")
    (folder / "self").symlink_to(folder)
    assert digest_folder(folder)
    assert digest_folder(tmp_path / "nowhere") == digest_folder(tmp_path / "nowhere too")
