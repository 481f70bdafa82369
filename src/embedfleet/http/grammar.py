"""A request's head, read whole: RFC 9112's grammar, and what of it this server takes.

Where the RFC leaves a choice the stricter one is taken, but for what TEI's server (hyper) lets in and clients may rely
on: a length that is stated twice and the same, and an expectation that nobody knows.
"""

import re
from typing import Final

from embedfleet.errors import (
    HeadersTooLarge,
    MalformedRequest,
    TargetTooLong,
    UnsupportedRequest,
    UnsupportedVersion,
)
from embedfleet.http.head import RequestHead

HEAD_END: Final = b"\r\n\r\n"

# A head of many tiny fields takes many times its bytes. As many as hyper takes.
_FIELDS: Final = 100
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\x00-\x20\x7f]+) HTTP/([0-9])\.([0-9])")
_BEGINNING = re.compile(rb"\r\Z|[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,40}(?: |\Z)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|[0-9A-Za-z\-._~%!$&'()*+,;=]*)(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)
_LENGTH_DIGITS: Final = 18  # a longer number is cut: it is over any limit then as well
_SHOWN: Final = 60


class Start:
    """A head, and what it says of the body.

    Attributes:
        head: of the request.
        length: of the body in bytes; -1 if it is chunked.
        expects_continue: whether the client waits for a word before it sends the body.
    """

    __slots__ = ("expects_continue", "head", "length")

    def __init__(self, head: RequestHead, length: int, expects_continue: bool) -> None:
        self.head = head
        self.length = length
        self.expects_continue = expects_continue


def check_beginning(data: bytearray, seen: int, most: int) -> None:
    """Refuse what cannot become a head, before all of it is there.

    Args:
        data: that has come so far; no empty line is in it.
        seen: how much of it was looked at before.
        most: bytes that a head may have.

    Raises:
        RequestError: it is too long, or no HTTP.
    """
    if not _BEGINNING.match(data) or _BARE_LF.search(data, max(0, seen - 1)):
        raise MalformedRequest(f"malformed HTTP request: it begins with {_shown(bytes(data[:_SHOWN]))}")
    if len(data) > most:
        raise head_too_large(data, most)


def head_too_large(data: bytes | bytearray, most: int) -> TargetTooLong | HeadersTooLarge:
    """The error for a head of more than ``most`` bytes."""
    if b"\r\n" not in data[:most]:
        return TargetTooLong(f"request line is over {most} bytes")
    return HeadersTooLarge(f"request head is over {most} bytes")


def read_head(data: bytes) -> Start:
    """What a head says.

    Args:
        data: from the request line to before the empty line.

    Raises:
        RequestError: it is not HTTP/1.1 or 1.0, or asks for what no part of this server does.
    """
    lines = data.split(b"\r\n")
    matched = _REQUEST_LINE.fullmatch(lines[0])
    if matched is None:
        raise MalformedRequest(f"malformed HTTP request: request line {_shown(lines[0])}")
    method, target, major, minor = matched.groups()
    if major != b"1":
        raise UnsupportedVersion(f"HTTP/{major.decode()}.{minor.decode()} is not spoken here, HTTP/1.1 is")
    fields = _Fields(read_fields(lines[1:]))
    head = RequestHead()
    head.method = method
    head.target = _origin_form(method, target)
    head.headers = fields.others
    head.old = minor == b"0"
    head.keep_alive = b"close" not in fields.options and (not head.old or b"keep-alive" in fields.options)
    head.is_plain = head.keep_alive and not head.old and method != b"HEAD"
    _check_host(fields.hosts, head.old)
    length = _body_length(fields, head.old)
    expects_continue = fields.expects_continue and not head.old and length != 0
    head.is_framed = length >= 0 and not expects_continue and len(fields.lengths) <= 1
    return Start(head, length, expects_continue)


def read_fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Names in lower case and values of field lines.

    Raises:
        MalformedRequest: a line is none.
        HeadersTooLarge: there are too many.
    """
    if len(lines) > _FIELDS:
        raise HeadersTooLarge(f"request has {len(lines)} fields, {_FIELDS} are taken")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.translate(None, _TOKEN) or _CONTROL.search(value):
            raise MalformedRequest(f"malformed HTTP request: field {_shown(line)}")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


class _Fields:
    """A head's fields, those apart that say how the message is to be read."""

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.others: list[tuple[bytes, bytes]] = []  # all but content-length
        self.lengths: list[bytes] = []
        self.codings: list[bytes] | None = None
        self.hosts: list[bytes] = []
        self.options: list[bytes] = []  # of `connection`
        self.expects_continue = False
        for name, value in fields:
            if name == b"content-length":
                self.lengths.append(value)
                continue
            self.others.append((name, value))
            if name == b"host":
                self.hosts.append(value)
            elif name == b"connection":
                self.options += _members(value)
            elif name == b"transfer-encoding":
                self.codings = (self.codings or []) + _members(value)
            elif name == b"expect":
                self.expects_continue = self.expects_continue or b"100-continue" in _members(value)


def _members(value: bytes) -> list[bytes]:
    """Of a list, in lower case, empty ones left out (RFC 9110 §5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def _origin_form(method: bytes, target: bytes) -> bytes:
    """A target from its path on (RFC 9112 §3.2)."""
    if method == b"CONNECT":
        raise UnsupportedRequest("CONNECT is not done here: this is no proxy")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        raise MalformedRequest(f"malformed HTTP request: target {_shown(target)}")
    rest = target[absolute.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _check_host(hosts: list[bytes], old: bool) -> None:
    """RFC 9112 §3.2: exactly one, and one that can be one."""
    if len(hosts) != 1:
        if hosts or not old:
            raise MalformedRequest(f"malformed HTTP request: {len(hosts)} fields Host instead of one")
    elif not _HOST.fullmatch(hosts[0]):
        raise MalformedRequest(f"malformed HTTP request: Host {_shown(hosts[0])}")


def _body_length(fields: _Fields, old: bool) -> int:
    """In bytes, or -1 for chunked (RFC 9112 §6.3)."""
    if fields.codings is not None:
        if fields.lengths or old:
            other = "Content-Length" if fields.lengths else "HTTP/1.0"
            raise MalformedRequest(f"malformed HTTP request: Transfer-Encoding with {other}")
        if not fields.codings or fields.codings[-1] != b"chunked" or b"chunked" in fields.codings[:-1]:
            raise MalformedRequest("malformed HTTP request: Transfer-Encoding has to end in chunked, once")
        if len(fields.codings) > 1:
            raise UnsupportedRequest(f"Transfer-Encoding {_shown(fields.codings[0])} is not done here, chunked is")
        return -1
    stated = {part.strip(b" \t") for value in fields.lengths for part in value.split(b",")}
    if not stated:
        return 0
    digits = stated.pop()
    if stated or not digits.isdigit():
        raise MalformedRequest(f"malformed HTTP request: Content-Length {_shown(b', '.join(fields.lengths))}")
    return int(digits.lstrip(b"0")[:_LENGTH_DIGITS] or b"0")


def _shown(data: bytes) -> str:
    return repr(data[:_SHOWN])[1:] + ("…" if len(data) > _SHOWN else "")
