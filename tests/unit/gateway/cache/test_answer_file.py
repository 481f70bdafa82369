"""The file of a cache comes back as it was written, or not at all."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.gateway.cache.answer_cache import Answer
from embedfleet.gateway.cache.answer_file import KeptAnswers, read_answers, write_answers
from embedfleet.probe.fingerprint import Fingerprint
from embedfleet.probe.pool_model import ModelIdentity
from embedfleet.probe.sample import Sample

MODEL = ModelIdentity(Fingerprint("m", "", "embedding", "cls", "{}"), Sample("vector", {"0": 0.5, "1": 0.25}))
KEPT = KeptAnswers(MODEL, b"s" * 32, [(b"%016d" % n, Answer(b"[[%d]]" % n, n - 1)) for n in range(5)])
MOST = 1_000_000


def content(kept):
    return kept.model, kept.secret, [(key, answer.reply, answer.tokens) for key, answer in kept.answers]


def test_what_was_written_is_read(tmp_path):
    file = tmp_path / "not there yet" / "answers"
    write_answers(file, KEPT)
    assert content(read_answers(file, MOST)) == content(KEPT)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    file = tmp_path_factory.mktemp("cache") / "answers"
    write_answers(file, KEPT)
    return file


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_not_used(written, data):
    whole = written.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    how = data.draw(st.sampled_from(["cut", "flip", "add"]))
    damaged = {
        "cut": whole[:at],
        "flip": whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :],
        "add": whole + b"x",
    }[how]
    file = written.with_name("damaged")
    file.write_bytes(damaged)
    assert read_answers(file, MOST) is None


@pytest.mark.parametrize("found", [b"", b"something else\n" * 100, b"embedfleet gateway cache 0\n" + bytes(100)])
def test_a_foreign_file_is_named_in_the_log(tmp_path, caplog, found):
    file = tmp_path / "answers"
    file.write_bytes(found)
    with caplog.at_level(logging.ERROR):
        assert read_answers(file, MOST) is None
    assert str(file) in caplog.text


def test_a_missing_file_is_no_fault(tmp_path, caplog):
    assert read_answers(tmp_path / "none", MOST) is None
    assert not caplog.records


def test_a_file_for_a_larger_cache_is_not_used(written, caplog):
    assert read_answers(written, 20) is None
    assert "gateway_cache_mb" in caplog.text


def test_a_failed_writing_leaves_the_file_as_it_was(tmp_path, caplog):
    file = tmp_path / "answers"
    write_answers(file, KEPT)
    before = file.read_bytes()
    (tmp_path / "answers.new").mkdir()
    write_answers(file, KEPT)
    assert file.read_bytes() == before
    assert "cannot be written" in caplog.text
