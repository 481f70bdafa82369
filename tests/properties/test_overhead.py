"""A reply's bytes outside its body are bounded, and those of its body are not, however a server sends them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.http.reply_overhead import INTERIM_REPLIES, REPLY_FIELDS, REPLY_HEAD_BYTES, Overhead

names = st.binary(min_size=1, max_size=40)
values = st.binary(max_size=2000)


@given(st.lists(st.tuples(names, values), max_size=80))
def test_a_head_is_refused_exactly_when_it_has_too_many_bytes(fields):
    overhead = Overhead()
    size = 0
    for name, value in fields:
        overhead.add_field(name, value)
        size += len(name) + len(value)
        assert bool(overhead.fault) is (size > REPLY_HEAD_BYTES)


def test_many_tiny_fields_are_refused_although_they_are_short():
    overhead = Overhead()
    for _ in range(REPLY_FIELDS):
        overhead.add_field(b"a", b"")
    assert not overhead.fault
    overhead.add_field(b"a", b"")
    assert overhead.fault == f"a head of over {REPLY_FIELDS} fields"


@given(st.lists(st.integers(1, REPLY_HEAD_BYTES), max_size=20))
def test_a_body_may_have_any_size(pieces):
    overhead = Overhead()
    for size in pieces:
        overhead.add_body()
        overhead.add_read(size)
    assert not overhead.fault


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30_000)), max_size=20))
def test_reads_without_a_piece_of_a_body_add_up_until_there_is_one(reads):
    overhead = Overhead()
    silent = 0
    for has_body, size in reads:
        if has_body:
            overhead.add_body()
        overhead.add_read(size)
        silent = 0 if has_body else silent + size
        if silent > REPLY_HEAD_BYTES:
            assert overhead.fault == f"over {REPLY_HEAD_BYTES} bytes without any byte of a body"
            return
        assert not overhead.fault


@given(st.integers(200, 999))
def test_a_final_head_is_the_replys(status):
    overhead = Overhead()
    assert overhead.add_head(status)
    assert not overhead.fault


def test_interim_replies_are_bounded():
    overhead = Overhead()
    for _ in range(INTERIM_REPLIES):
        assert not overhead.add_head(102)
    assert not overhead.fault
    assert not overhead.add_head(102)
    assert overhead.fault == f"over {INTERIM_REPLIES} interim replies"


@pytest.mark.parametrize("status", [0, 1, 99])
def test_a_status_below_100_is_a_fault(status):
    overhead = Overhead()
    assert not overhead.add_head(status)
    assert overhead.fault == f"status {status} is not an HTTP status"


@given(st.integers(1, 40), st.integers(1, INTERIM_REPLIES))
def test_each_reply_has_the_whole_limit_again(fields, interims):
    overhead = Overhead()
    for _ in range(20):
        overhead.clear()
        for _ in range(fields):
            overhead.add_field(b"name", b"v" * 1000)
        for _ in range(interims):
            overhead.add_head(100)
        overhead.add_read(REPLY_HEAD_BYTES)
        assert not overhead.fault
