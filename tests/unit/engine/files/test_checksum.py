"""A file's checksum does not depend on the number of threads, and changes with any change of the file."""

import os

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.engine.files import checksum as module
from embedfleet.engine.files.checksum import checksum

BLOCK = module._BLOCK


def of(file):
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return checksum(descriptor, file.stat().st_size)
    finally:
        os.close(descriptor)


def test_every_block_and_its_place_counts(tmp_path):
    file = tmp_path / "file"
    whole = bytearray(os.urandom(BLOCK) + os.urandom(BLOCK) + os.urandom(BLOCK // 2))
    file.write_bytes(whole)
    found = {of(file)}
    changes = [whole[:-1], whole + b"\0", whole[BLOCK : 2 * BLOCK] + whole[:BLOCK] + whole[2 * BLOCK :]]
    for place in (0, BLOCK - 1, BLOCK, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        changes.append(changed)
    changes.append(whole[:BLOCK] + bytes(BLOCK) + whole[2 * BLOCK :])
    for change in changes:
        file.write_bytes(change)
        found.add(of(file))
    assert len(found) == len(changes) + 1
    file.write_bytes(whole)
    assert of(file) in found


def test_one_core_gives_what_all_give(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(3 * BLOCK + 5))
    all_cores = os.sched_getaffinity(0)
    many = of(file)
    os.sched_setaffinity(0, {min(all_cores)})
    try:
        assert of(file) == many
    finally:
        os.sched_setaffinity(0, all_cores)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_small_files_are_told_apart(tmp_path_factory, one, other):
    file = tmp_path_factory.mktemp("digest") / "file"
    digests = []
    for data in (one, other):
        file.write_bytes(data)
        digests.append(of(file))
    assert (digests[0] == digests[1]) == (one == other)


def test_a_file_that_got_shorter_meanwhile_has_another(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(1000))
    was = of(file)
    descriptor = os.open(file, os.O_RDONLY)
    os.truncate(file, 500)
    assert checksum(descriptor, 1000) != was
    os.close(descriptor)
