"""A fleet owns what has the id of its state folder, even after the folder was moved.

It does not own what a copy of the folder or another machine made.
"""

import os
import shutil
from pathlib import Path

import pytest

from embedfleet.config.load import load
from embedfleet.control.docker.fleet_identity import LABEL_FLEET, LABEL_FOLDER, LABEL_MACHINE, FleetIdentity
from embedfleet.errors import UsageError


def fleet(state: Path, *, create: bool = True) -> FleetIdentity:
    return (FleetIdentity.create if create else FleetIdentity.read)(load(None, {}, {"fleet.state_dir": str(state)}))


@pytest.fixture
def state(tmp_path) -> Path:
    return tmp_path / "home" / "state"


def test_an_id_stays_and_reading_makes_none(state):
    assert fleet(state, create=False).id == ""
    assert not state.exists()
    first = fleet(state)
    assert fleet(state) == first == fleet(state, create=False)
    assert first.owns(first.labels)


def test_two_state_folders_are_two_fleets(state):
    one, other = fleet(state), fleet(state.with_name("other"))
    assert not one.owns(other.labels)
    assert not other.owns(one.labels)


def test_a_moved_state_folder_keeps_its_fleet_and_a_copy_does_not(state):
    one = fleet(state)
    copy = shutil.copytree(state, state.with_name("copy"))
    assert not fleet(copy).owns(one.labels)
    moved = state.rename(state.with_name("moved"))
    assert fleet(moved).owns(one.labels)


def test_a_link_to_a_state_folder_is_the_same_fleet(state):
    one = fleet(state)
    link = state.with_name("link")
    link.symlink_to(state)
    assert fleet(link).owns(one.labels)
    assert one.owns(fleet(link).labels)


def test_a_moved_fleet_owns_its_containers_despite_a_new_fleet_in_its_place(state):
    one = fleet(state)
    moved = state.rename(state.with_name("moved"))
    fleet(state)
    assert fleet(moved).owns(one.labels)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_another_user_hides_proves_nothing(state):
    one = fleet(state)
    copy = fleet(shutil.copytree(state, state.parent.with_name("copy")))
    state.parent.chmod(0o700)
    os.seteuid(65534)
    try:
        assert not copy.owns(one.labels)
    finally:
        os.seteuid(0)


def test_a_fleet_without_its_id_owns_what_this_folder_and_machine_made(state):
    one = fleet(state)
    shutil.rmtree(state)
    again = fleet(state)
    assert again.id != one.id
    assert again.owns(one.labels)
    assert fleet(state, create=False).owns(one.labels)
    assert not again.owns(one.labels | {LABEL_MACHINE: "another"}), (
        "a daemon may serve two machines with the same paths"
    )


def test_for_containers_of_an_earlier_release_the_folder_decides(state):
    one = fleet(state)
    assert one.owns({LABEL_FOLDER: one.folder})
    assert not one.owns({LABEL_FOLDER: f"{one.folder}/elsewhere"})
    assert not one.owns({})


@pytest.mark.parametrize("content", [b"", b"\0" * 32, b"../../etc", b"x" * 10_000])
def test_an_invalid_id_is_replaced(state, content):
    first = fleet(state)
    (state / "fleet-id").write_bytes(content)
    assert fleet(state, create=False).id == ""
    again = fleet(state)
    assert again.id not in {"", first.id}
    assert again.owns(first.labels)


def test_a_link_or_pipe_in_place_of_the_id_is_replaced_unread(state, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0" * 32)
    state.mkdir(parents=True)
    (state / "fleet-id").symlink_to(secret)
    assert fleet(state).id != "0" * 32
    (state / "fleet-id").unlink()
    os.mkfifo(state / "fleet-id")
    assert fleet(state).labels[LABEL_FLEET]
    assert secret.read_text() == "0" * 32


def test_a_folder_in_place_of_the_id_is_an_error_with_a_hint(state):
    (state / "fleet-id").mkdir(parents=True)
    with pytest.raises(UsageError, match="fleet-id cannot be written") as caught:
        fleet(state)
    assert "remove that file" in caught.value.hint
