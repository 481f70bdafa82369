"""The run folder is the owner's alone, and what is not ours is never removed."""

import os
import stat

import pytest

from embedfleet.control.run.run_folder import RunFolder
from embedfleet.http.unix_socket import UnixSocket


def test_the_folder_is_open_only_to_its_owner_and_takes_sockets(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.make()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert list(folder.path.iterdir()) == []
    made = UnixSocket(folder.socket("a.sock"))
    made.bind().close()
    assert folder.path / "a.sock" in set(folder.path.iterdir())
    folder.remove()
    assert not (tmp_path / "run").exists()


def test_the_folder_of_another_fleet_is_not_taken(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError):
        RunFolder(tmp_path / "run").make()


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_leftovers_of_a_killed_fleet_are_removed_and_links_are_not_followed(tmp_path, kind):
    usual, kept = tmp_path / "run", tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    if kind == "folder":
        usual.mkdir()
        (usual / "admin.sock").touch()
    elif kind == "link":
        usual.symlink_to(kept)
    else:
        usual.touch()
    RunFolder(usual).clear(str(usual / "admin.sock"))
    assert not os.path.lexists(usual)
    assert (kept / "file").exists()


def test_a_folder_elsewhere_is_removed_only_if_its_name_is_ours(tmp_path):
    ours, other = tmp_path / "embedfleet-x", tmp_path / "precious"
    for folder in (ours, other):
        folder.mkdir()
        (folder / "admin.sock").touch()
        RunFolder(tmp_path / "run").clear(str(folder / "admin.sock"))
    assert not ours.exists()
    assert (other / "admin.sock").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_left_alone(tmp_path):
    folder = tmp_path / "embedfleet-x"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    RunFolder(tmp_path / "run").clear(str(folder / "admin.sock"))
    assert folder.exists()
