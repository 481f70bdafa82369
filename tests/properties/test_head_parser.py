"""A request head that the RFC allows is parsed as written; one that parsers could read in two ways is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.errors import (
    HeadersTooLarge,
    MalformedRequest,
    RequestError,
    TargetTooLong,
    UnsupportedRequest,
    UnsupportedVersion,
)
from embedfleet.http.head_parser import check_beginning, head_too_large, read_fields, read_head

tokens = st.from_regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)
targets = st.from_regex(rb"/[!-~]{0,20}", fullmatch=True)
values = st.from_regex(rb"([!-~]([ -~\t]{0,12}[!-~])?)?", fullmatch=True)
own_names = st.from_regex(rb"[Xx]-[A-Za-z0-9_]{1,10}", fullmatch=True)
blanks = st.from_regex(rb"[ \t]{0,3}", fullmatch=True)
HOST = b"Host: h"


def head(*lines: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, HOST, *lines])


fields_as_written = st.lists(st.tuples(own_names, blanks, values, blanks), max_size=8)


@given(tokens.filter(lambda name: name != b"CONNECT"), targets, fields_as_written)
@settings(max_examples=60, deadline=None)
def test_a_head_is_read_as_it_was_written(method, target, fields):
    lines = [name + b":" + before + value + after for name, before, value, after in fields]
    start = read_head(head(*lines, line=method + b" " + target + b" HTTP/1.1"))
    assert (start.head.method, start.head.target, start.length) == (method, target, 0)
    assert start.head.headers == [(b"host", b"h"), *((name.lower(), value) for name, _, value, _ in fields)]
    assert start.head.keep_alive
    assert not start.head.old


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_other_bytes_are_refused_by_name(data):
    try:
        start = read_head(data)
    except RequestError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a head that is not refused is checked too
        assert len(str(error)) < 400  # noqa: PT017
    else:
        assert b"HTTP/1." in data
        assert start.length >= -1


@given(st.integers(0, 10**18 - 1), st.integers(0, 9), st.integers(1, 3))
def test_a_length_may_have_leading_zeros_and_be_repeated(length, zeros, times):
    line = b"Content-Length: " + b"0" * zeros + b"%d" % length
    start = read_head(head(*[line] * times))
    assert start.length == length
    assert start.head.is_framed is (times == 1)
    assert not [name for name, _ in start.head.headers if name == b"content-length"]


@given(st.integers(10**18, 10**40))
def test_a_length_beyond_every_limit_stays_beyond_it(length):
    assert read_head(head(b"Content-Length: %d" % length)).length >= 10**17


@pytest.mark.parametrize("value", [b"1, 2", b"-1", b"+1", b"1.0", b"0x1", b"", b"1 2", b"1,", b"\xb2"])
def test_a_length_that_could_be_read_in_two_ways_is_refused(value):
    with pytest.raises(MalformedRequest, match="Content-Length"):
        read_head(head(b"Content-Length: " + value))


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([b"Transfer-Encoding: chunked", b"Content-Length: 3"], "Transfer-Encoding with Content-Length"),
        ([b"Content-Length: 0", b"Transfer-Encoding: chunked"], "Transfer-Encoding with Content-Length"),
        ([b"Transfer-Encoding: gzip"], "must end in chunked, once"),
        ([b"Transfer-Encoding: chunked, gzip"], "must end in chunked, once"),
        ([b"Transfer-Encoding: chunked, chunked"], "must end in chunked, once"),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], "must end in chunked, once"),
        ([b"Transfer-Encoding:"], "must end in chunked, once"),
        ([b"Transfer-Encoding : chunked"], "field 'Transfer-Encoding : chunked'"),
        ([b" folded: 1"], "field"),
        ([b"no colon"], "field"),
        ([b": v"], "field"),
        ([b"a\x00b: v"], "field"),
        ([b"a: v\x00"], "field"),
        ([b"a: v\rb: w"], "field"),
        ([b"Host: other"], "2 Host fields"),
    ],
)
def test_a_head_that_hides_a_second_request_is_refused(lines, error):
    with pytest.raises(MalformedRequest, match=error):
        read_head(head(*lines))


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b" , chunked,"])
def test_a_chunked_body_has_no_length(value):
    assert read_head(head(b"Transfer-Encoding: " + value)).length == -1


def test_other_codings_are_not_supported():
    with pytest.raises(UnsupportedRequest, match="Transfer-Encoding 'gzip' is not supported, only chunked"):
        read_head(head(b"Transfer-Encoding: gzip, chunked"))
    with pytest.raises(MalformedRequest, match=r"Transfer-Encoding with HTTP/1\.0"):
        read_head(head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://h/p?q", b"/p?q"),
        (b"HTTPS://h:1/p", b"/p"),
        (b"http://h", b"/"),
        (b"http://h?q", b"/?q"),
        (b"/http://h", b"/http://h"),
    ],
)
def test_a_target_is_reduced_to_its_path(target, expected):
    assert read_head(head(line=b"GET %b HTTP/1.1" % target)).head.target == expected


@pytest.mark.parametrize(
    "line", [b"GET p HTTP/1.1", b"GET * HTTP/1.1", b"GET ftp://h/p HTTP/1.1", b"GET http:///p HTTP/1.1"]
)
def test_other_targets_are_refused(line):
    with pytest.raises(MalformedRequest, match="target"):
        read_head(head(line=line))


@pytest.mark.parametrize(
    "line", [b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET /\tHTTP/1.1", b"G\xe9T / HTTP/1.1", b"GET / http/1.1", b""]
)
def test_other_request_lines_are_refused(line):
    with pytest.raises(MalformedRequest, match="request line"):
        read_head(head(line=line))


def test_only_http_1_is_spoken_and_nothing_is_forwarded():
    with pytest.raises(UnsupportedVersion, match=r"HTTP/2\.0 is not supported"):
        read_head(head(line=b"GET / HTTP/2.0"))
    with pytest.raises(UnsupportedRequest, match="not a forward proxy"):
        read_head(head(line=b"CONNECT h:1 HTTP/1.1"))
    assert read_head(head(line=b"OPTIONS * HTTP/1.1")).head.target == b"*"


@pytest.mark.parametrize(
    ("version", "connection", "is_kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Upgrade, CLOSE", False),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
    ],
)
def test_a_connection_is_kept_as_version_and_field_say(version, connection, is_kept):
    assert read_head(head(b"Connection: " + connection, line=b"GET / HTTP/" + version)).head.keep_alive is is_kept


def test_a_host_is_needed_but_for_old_clients():
    with pytest.raises(MalformedRequest, match="0 Host fields"):
        read_head(b"GET / HTTP/1.1")
    assert read_head(b"GET / HTTP/1.0").head.old
    with pytest.raises(MalformedRequest, match="Host 'a b'"):
        read_head(b"GET / HTTP/1.1\r\nHost: a b")
    assert read_head(b"GET / HTTP/1.1\r\nHost: [::1]:80").head.target == b"/"


@pytest.mark.parametrize(
    ("lines", "line", "expected"),
    [
        ([b"Expect: 100-continue", b"Content-Length: 5"], b"POST / HTTP/1.1", True),
        ([b"Expect: 100-Continue", b"Transfer-Encoding: chunked"], b"POST / HTTP/1.1", True),
        ([b"Expect: 100-continue"], b"POST / HTTP/1.1", False),
        ([b"Expect: 100-continue", b"Content-Length: 5"], b"POST / HTTP/1.0", False),
        ([b"Expect: other", b"Content-Length: 5"], b"POST / HTTP/1.1", False),
    ],
)
def test_a_client_that_waits_for_a_100_is_known(lines, line, expected):
    assert read_head(head(*lines, line=line)).expects_continue is expected


def test_many_fields_are_refused():
    assert len(read_fields([b"a: b"] * 100)) == 100
    with pytest.raises(HeadersTooLarge, match="101 fields, at most 100"):
        read_fields([b"a: b"] * 101)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_sound_head_is_never_refused_before_it_is_complete(data):
    """A client may send its head byte by byte, so every beginning of a sound head is accepted."""
    whole = head(b"X-A: 1", line=data.draw(tokens) + b" /p HTTP/1.1")
    for end in range(1, len(whole)):
        check_beginning(bytearray(whole[:end]), max(0, end - 1), 1000)


@pytest.mark.parametrize("data", [b"\x16\x03\x01", b" GET", b"GET / HTTP/1.1\nHost: h", b"\r\r", b"A" * 41, b"{}"])
def test_bytes_that_cannot_begin_a_head_are_refused_at_once(data):
    with pytest.raises(MalformedRequest, match="it begins with"):
        check_beginning(bytearray(data), 0, 1000)


def test_a_bare_line_feed_is_refused_when_it_comes_even_as_a_read_of_its_own():
    begun = b"GET / HTTP/1.1\r\nHost: h"
    check_beginning(bytearray(begun), 0, 1000)
    with pytest.raises(MalformedRequest, match="it begins with"):
        check_beginning(bytearray(begun + b"\n"), len(begun), 1000)


def test_a_long_request_line_and_a_long_head_are_different_errors():
    with pytest.raises(TargetTooLong, match="request line is over 50 bytes"):
        check_beginning(bytearray(b"GET /" + b"a" * 60), 0, 50)
    with pytest.raises(HeadersTooLarge, match="request head is over 50 bytes"):
        check_beginning(bytearray(b"GET / HTTP/1.1\r\nX: " + b"a" * 60), 0, 50)
    assert isinstance(head_too_large(b"GET / HTTP/1.1\r\n" + b"a" * 60, 50), HeadersTooLarge)
