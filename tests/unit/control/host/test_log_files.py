"""Log files have a limited size, and can be read while they are written."""

import os

import pytest

from embedfleet.control.host.log_files import LogFiles


def write(journal: LogFiles, name: str, data: bytes) -> None:
    descriptor = journal.open(name)
    os.write(descriptor, data)
    os.close(descriptor)


def test_no_folder_is_created_before_a_write(tmp_path):
    journal = LogFiles(tmp_path / "logs")
    assert (journal.names(), journal.tail("a", 5)) == ([], [])
    assert not (tmp_path / "logs").exists()


def test_a_file_is_appended_to_and_its_last_lines_can_be_read(tmp_path):
    journal = LogFiles(tmp_path / "logs")
    write(journal, "a", b"one\ntwo\n")
    write(journal, "a", b"three\n")
    assert journal.tail("a", 2) == ["two", "three"]
    assert journal.names() == ["a"]


def test_a_file_over_its_limit_is_moved_while_its_writer_continues(tmp_path):
    journal = LogFiles(tmp_path, limit_bytes=10)
    held = journal.open("a")
    os.write(held, b"0123456789\n")
    journal.trim("a")
    os.write(held, b"new\n")
    os.close(held)
    assert journal.tail("a", 1) == ["new"]
    assert journal.tail("a", 9) == ["0123456789", "new"], "the previous file has the lines that are missing"
    assert (tmp_path / "a.log.1").read_bytes() == b"0123456789\n"
    assert journal.names() == ["a"]


def test_a_file_within_its_limit_is_left(tmp_path):
    journal = LogFiles(tmp_path, limit_bytes=10)
    write(journal, "a", b"012345678\n")
    journal.trim("a")
    assert journal.tail("a", 9) == ["012345678"]
    assert not (tmp_path / "a.log.1").exists()


def test_invalid_utf_8_does_not_hide_other_lines(tmp_path):
    journal = LogFiles(tmp_path)
    write(journal, "a", b"\xff\xfe\ngood\n")
    assert journal.tail("a", 1) == ["good"]


@pytest.mark.parametrize("count", [0, 1, 2, 999, 30_000, 100_000])
def test_as_many_lines_are_shown_as_are_asked_for(tmp_path, count):
    journal = LogFiles(tmp_path)
    lines = [f"line {number} is é" for number in range(30_000)]
    write(journal, "a", "".join(f"{line}\n" for line in lines).encode())
    assert journal.tail("a", count) == (lines[-count:] if count else [])


def test_a_last_line_without_an_end_is_a_line(tmp_path):
    journal = LogFiles(tmp_path)
    write(journal, "a", b"one\ntwo\nthree")
    assert journal.tail("a", 2) == ["two", "three"]


def test_all_lines_after_an_offset_are_returned(tmp_path):
    journal = LogFiles(tmp_path)
    write(journal, "a", b"before\n" * 20_000)
    place = journal.path("a").stat().st_size
    assert journal.since("a", place) == []
    write(journal, "a", b"after\n" * 20_000)
    assert journal.since("a", place) == ["after"] * 20_000
    assert journal.since("b", 0) == []


def test_lines_after_an_offset_are_complete_although_the_file_was_trimmed(tmp_path):
    journal = LogFiles(tmp_path, limit_bytes=10)
    write(journal, "a", b"before\n")
    held = journal.open("a")
    os.write(held, b"error: one\n")
    journal.trim("a")
    os.write(held, b"two\n")
    os.close(held)
    assert journal.since("a", 7) == ["error: one", "two"]


def test_without_room_for_a_copy_old_lines_are_dropped_and_other_files_are_trimmed(tmp_path, caplog):
    journal = LogFiles(tmp_path, limit_bytes=10)
    for name in "ab":
        write(journal, name, b"0123456789\n")
    (tmp_path / "a.log.1").mkdir()  # cannot be written
    (tmp_path / "a.log.1" / "file").touch()
    journal.trim_all()
    assert (tmp_path / "b.log.1").read_bytes() == b"0123456789\n"
    assert str(tmp_path / "a.log") in caplog.text


def test_a_log_that_cannot_be_opened_does_not_stop_a_child(tmp_path, caplog):
    (tmp_path / "logs").touch()  # a file, so it cannot hold logs
    journal = LogFiles(tmp_path / "logs")
    write(journal, "a", b"lost\n")
    journal.add("b", ["lost"])
    assert f"a is not logged: {tmp_path / 'logs' / 'a.log'}" in caplog.text


def test_lost_output_is_reported_with_the_free_space(tmp_path, caplog):
    (tmp_path / "a.log").symlink_to("/dev/full")
    LogFiles(tmp_path).add("a", ["lost"])
    assert "output of a is lost" in caplog.text
    assert "No space left on device (" in caplog.text
    assert "MB free)" in caplog.text
