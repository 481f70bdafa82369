"""A disk error is reported with the free space and a hint."""

import errno
import os
from pathlib import Path

import pytest

from embedfleet.control.host.disk import free_bytes, hint_for, is_full, reason_of, room, run_as_hint


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False), (errno.EROFS, False)],
)
def test_a_full_disk_and_an_exhausted_quota_are_reported_alike(number, expected, tmp_path):
    assert is_full(error(number)) is expected
    reason = reason_of(error(number), tmp_path)
    assert reason.startswith(os.strerror(number))
    assert (" MB free)" in reason) is expected


def test_an_error_without_a_number_is_reported_by_its_text(tmp_path):
    assert reason_of(OSError("odd"), tmp_path) == "odd"


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "make room there, or set state_dir"),
        (errno.EDQUOT, "make room there, or set state_dir"),
        (errno.EACCES, "run it as root, or set state_dir"),
        (errno.EPERM, "run it as root, or set state_dir"),
        (errno.ENOLCK, "set state_dir to a folder of a file system that has locks"),
        (errno.EOPNOTSUPP, "set state_dir to a folder of a file system that has locks"),
        (errno.EROFS, "set state_dir"),
    ],
)
def test_the_hint_suits_the_error(number, hint):
    assert hint_for(error(number), owner=0) == hint


@pytest.mark.parametrize(
    ("owner", "hint"),
    [
        (-1, "run it as the user who started the fleet, or as root"),
        (0, "run it as root"),
        (4_000_000_000, "run it as user 4000000000 or root"),
    ],
)
def test_the_hint_names_the_owner_as_far_as_known(owner, hint):
    assert run_as_hint(owner) == hint


def test_the_free_space_of_a_missing_path_is_that_of_its_disk(tmp_path):
    missing = tmp_path / "a" / "b"
    found = os.statvfs(tmp_path)
    assert free_bytes(missing) == pytest.approx(found.f_bavail * found.f_frsize, rel=0.2)
    assert room(missing).endswith(" MB free")


def test_the_free_space_of_an_invalid_path_is_unknown():
    assert free_bytes(Path("/proc/self/status/below")) == 0
    assert room(Path("/proc/self/status/below")) == "0.0 MB free"
