"""Parsing of a complete request head by RFC 9112's grammar.

Where the RFC leaves a choice, this parser is strict, with two exceptions that TEI's server (hyper) makes and clients
may rely on: equal values of a repeated Content-Length, and unknown expectations.
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
from embedfleet.http.request_head import RequestHead

HEAD_END: Final = b"\r\n\r\n"

# The limit of hyper. Many tiny fields take far more memory than their bytes.
_FIELDS: Final = 100
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\x00-\x20\x7f]+) HTTP/([0-9])\.([0-9])")
_BEGINNING = re.compile(rb"\r\Z|[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,40}(?: |\Z)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|[0-9A-Za-z\-._~%!$&'()*+,;=]*)(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)
_LENGTH_DIGITS: Final = 18  # longer numbers are truncated to this length, at which they still exceed any limit
_SHOWN: Final = 60


class Start:
    """A parsed head with the framing of its body.

    Attributes:
        head: Head of the request.
        length: Length of the body in bytes; -1 if it is chunked.
        expects_continue: Whether the client waits for a 100 (Continue) before it sends the body.
    """

    __slots__ = ("expects_continue", "head", "length")

    def __init__(self, head: RequestHead, length: int, expects_continue: bool) -> None:
        self.head = head
        self.length = length
        self.expects_continue = expects_continue


def check_beginning(data: bytearray, seen: int, most: int) -> None:
    """Refuse an incomplete head that cannot become a valid one.

    Args:
        data: Bytes that have arrived, without an empty line among them.
        seen: Number of these bytes that were checked before.
        most: Maximum size of a head in bytes.

    Raises:
        RequestError: The data is too long, or not HTTP.
    """
    if not _BEGINNING.match(data) or _BARE_LF.search(data, max(0, seen - 1)):
        raise MalformedRequest(f"malformed HTTP request: it begins with {_shown(bytes(data[:_SHOWN]))}")
    if len(data) > most:
        raise head_too_large(data, most)


def head_too_large(data: bytes | bytearray, most: int) -> TargetTooLong | HeadersTooLarge:
    """Make the error for a head of more than ``most`` bytes."""
    if b"\r\n" not in data[:most]:
        return TargetTooLong(f"request line is over {most} bytes")
    return HeadersTooLarge(f"request head is over {most} bytes")


def read_head(data: bytes) -> Start:
    """Parse a complete head.

    Args:
        data: Bytes from the request line to before the empty line.

    Raises:
        RequestError: The head is malformed, not HTTP/1.1 or 1.0, or asks for a feature that this server lacks.
    """
    lines = data.split(b"\r\n")
    matched = _REQUEST_LINE.fullmatch(lines[0])
    if matched is None:
        raise MalformedRequest(f"malformed HTTP request: request line {_shown(lines[0])}")
    method, target, major, minor = matched.groups()
    if major != b"1":
        raise UnsupportedVersion(f"HTTP/{major.decode()}.{minor.decode()} is not supported, use HTTP/1.1")
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
    """Parse field lines to names in lower case and values.

    Raises:
        MalformedRequest: A line is not a field.
        HeadersTooLarge: There are too many fields.
    """
    if len(lines) > _FIELDS:
        raise HeadersTooLarge(f"request has {len(lines)} fields, at most {_FIELDS} are allowed")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.translate(None, _TOKEN) or _CONTROL.search(value):
            raise MalformedRequest(f"malformed HTTP request: field {_shown(line)}")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


class _Fields:
    """The fields of a head, with separate lists for those that control the reading of the message."""

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.others: list[tuple[bytes, bytes]] = []  # all but content-length
        self.lengths: list[bytes] = []
        self.codings: list[bytes] | None = None
        self.hosts: list[bytes] = []
        self.options: list[bytes] = []  # members of `connection`
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
    """Split a list field into its members, in lower case and without empty ones (RFC 9110 §5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def _origin_form(method: bytes, target: bytes) -> bytes:
    """Reduce a target to its path and query (RFC 9112 §3.2)."""
    if method == b"CONNECT":
        raise UnsupportedRequest("CONNECT is not supported: this server is not a forward proxy")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        raise MalformedRequest(f"malformed HTTP request: target {_shown(target)}")
    rest = target[absolute.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _check_host(hosts: list[bytes], old: bool) -> None:
    """Refuse a request without exactly one valid Host field (RFC 9112 §3.2)."""
    if len(hosts) != 1:
        if hosts or not old:
            raise MalformedRequest(f"malformed HTTP request: {len(hosts)} Host fields instead of one")
    elif not _HOST.fullmatch(hosts[0]):
        raise MalformedRequest(f"malformed HTTP request: Host {_shown(hosts[0])}")


def _body_length(fields: _Fields, old: bool) -> int:
    """Determine the length of the body in bytes; -1 for a chunked one (RFC 9112 §6.3)."""
    if fields.codings is not None:
        if fields.lengths or old:
            other = "Content-Length" if fields.lengths else "HTTP/1.0"
            raise MalformedRequest(f"malformed HTTP request: Transfer-Encoding with {other}")
        if not fields.codings or fields.codings[-1] != b"chunked" or b"chunked" in fields.codings[:-1]:
            raise MalformedRequest("malformed HTTP request: Transfer-Encoding must end in chunked, once")
        if len(fields.codings) > 1:
            raise UnsupportedRequest(f"Transfer-Encoding {_shown(fields.codings[0])} is not supported, only chunked")
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
