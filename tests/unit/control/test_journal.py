"""Log files are bounded, and can be read while they are written."""

import os

from embedfleet.control.journal import Journal


def write(journal: Journal, name: str, data: bytes) -> None:
    descriptor = journal.open(name)
    os.write(descriptor, data)
    os.close(descriptor)


def test_nothing_is_made_before_something_is_written(tmp_path):
    journal = Journal(tmp_path / "logs")
    assert (journal.names(), journal.tail("a", 5)) == ([], [])
    assert not (tmp_path / "logs").exists()


def test_a_file_goes_on_where_it_ended_and_its_last_lines_can_be_read(tmp_path):
    journal = Journal(tmp_path / "logs")
    write(journal, "a", b"one\ntwo\n")
    write(journal, "a", b"three\n")
    assert journal.tail("a", 2) == ["two", "three"]
    assert journal.names() == ["a"]


def test_a_file_over_its_limit_becomes_the_old_one_and_who_holds_it_open_goes_on(tmp_path):
    journal = Journal(tmp_path, limit_bytes=10)
    held = journal.open("a")
    os.write(held, b"0123456789\n")
    journal.trim("a")
    os.write(held, b"new\n")
    os.close(held)
    assert journal.tail("a", 9) == ["new"]
    assert (tmp_path / "a.log.1").read_bytes() == b"0123456789\n"
    assert journal.names() == ["a"]


def test_a_file_within_its_limit_is_left(tmp_path):
    journal = Journal(tmp_path, limit_bytes=10)
    write(journal, "a", b"012345678\n")
    journal.trim("a")
    assert journal.tail("a", 9) == ["012345678"]
    assert not (tmp_path / "a.log.1").exists()


def test_bytes_that_are_no_text_do_not_hide_the_rest(tmp_path):
    journal = Journal(tmp_path)
    write(journal, "a", b"\xff\xfe\ngood\n")
    assert journal.tail("a", 1) == ["good"]
