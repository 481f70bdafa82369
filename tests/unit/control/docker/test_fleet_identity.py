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


def test_its_id_stays_and_nobody_who_only_looks_makes_one(state):
    assert fleet(state, create=False).id == ""
    assert not state.exists()
    first = fleet(state)
    assert fleet(state) == first == fleet(state, create=False)
    assert first.owns(first.labels)


def test_two_state_folders_are_two_fleets(state):
    one, other = fleet(state), fleet(state.with_name("other"))
    assert not one.owns(other.labels)
    assert not other.owns(one.labels)


def test_a_folder_that_was_moved_takes_its_fleet_with_it_and_one_that_was_copied_does_not(state):
    one = fleet(state)
    copy = shutil.copytree(state, state.with_name("copy"))
    assert not fleet(copy).owns(one.labels)
    moved = state.rename(state.with_name("moved"))
    assert fleet(moved).owns(one.labels)


def test_a_folder_that_is_reached_by_another_path_is_the_same(state):
    one = fleet(state)
    link = state.with_name("link")
    link.symlink_to(state)
    assert fleet(link).owns(one.labels)
    assert one.owns(fleet(link).labels)


def test_where_another_fleet_was_begun_since_the_moved_one_is_still_its_own(state):
    one = fleet(state)
    moved = state.rename(state.with_name("moved"))
    fleet(state)
    assert fleet(moved).owns(one.labels)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_what_another_user_hides_is_not_proven(state):
    one = fleet(state)
    copy = fleet(shutil.copytree(state, state.parent.with_name("copy")))
    state.parent.chmod(0o700)
    os.seteuid(65534)
    try:
        assert not copy.owns(one.labels)
    finally:
        os.seteuid(0)


def test_one_that_has_lost_its_id_knows_what_was_made_here_and_on_this_machine(state):
    one = fleet(state)
    shutil.rmtree(state)
    again = fleet(state)
    assert again.id != one.id
    assert again.owns(one.labels)
    assert fleet(state, create=False).owns(one.labels)
    assert not again.owns(one.labels | {LABEL_MACHINE: "another"}), (
        "a daemon may serve two machines with the same paths"
    )


def test_what_a_former_version_made_goes_by_the_folder(state):
    one = fleet(state)
    assert one.owns({LABEL_FOLDER: one.folder})
    assert not one.owns({LABEL_FOLDER: f"{one.folder}/elsewhere"})
    assert not one.owns({})


@pytest.mark.parametrize("content", [b"", b"\0" * 32, b"../../etc", b"x" * 10_000])
def test_an_id_that_makes_no_sense_is_made_anew(state, content):
    first = fleet(state)
    (state / "fleet-id").write_bytes(content)
    assert fleet(state, create=False).id == ""
    again = fleet(state)
    assert again.id not in {"", first.id}
    assert again.owns(first.labels)


def test_a_link_or_a_pipe_in_its_place_is_not_followed_nor_waited_for(state, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0" * 32)
    state.mkdir(parents=True)
    (state / "fleet-id").symlink_to(secret)
    assert fleet(state).id != "0" * 32
    (state / "fleet-id").unlink()
    os.mkfifo(state / "fleet-id")
    assert fleet(state).labels[LABEL_FLEET]
    assert secret.read_text() == "0" * 32


def test_a_folder_in_its_place_is_an_error_that_says_so(state):
    (state / "fleet-id").mkdir(parents=True)
    with pytest.raises(UsageError, match="fleet-id cannot be written") as caught:
        fleet(state)
    assert "remove that file" in caught.value.hint
