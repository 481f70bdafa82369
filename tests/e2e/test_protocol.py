"""The gateway and the engine follow RFC 9110 and RFC 9112, case by case with the section."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from embedfleet.types import Endpoint
from tests.services.engine import BUILTIN
from tests.services.engine import serving as engine
from tests.services.gateway import in_a_thread as gateway

WAIT_S: Final = 20.0
BODY: Final = b'{"inputs":"a"}'
CHUNKED: Final = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
# What only asks whether the connection still serves, and closes it.
LAST: Final = b"GET /info HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
H2C: Final = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n"


@dataclass(frozen=True)
class Case:
    """A case: bytes to send, expected statuses, and whether the connection stays usable."""

    section: str
    name: str
    data: bytes
    statuses: tuple[int, ...] = (200,)
    kept: bool = True


def post(
    *lines: bytes, body: bytes = BODY, start: bytes = b"POST /embed HTTP/1.1", host: bytes = b"Host: h\r\n"
) -> bytes:
    fields = b"".join(line if line.endswith(b"\r\n") else line + b"\r\n" for line in lines)
    return start + b"\r\n" + host + b"Content-Type: application/json\r\n" + fields + b"\r\n" + body


def sized(*lines: bytes, **changes: bytes) -> bytes:
    return post(b"Content-Length: %d" % len(changes.get("body", BODY)), *lines, **changes)


def chunked(body: bytes = CHUNKED, *lines: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


def get(line: bytes, *lines: bytes, host: bytes = b"Host: h\r\n") -> bytes:
    return post(*lines, body=b"", start=line, host=host)


def wrong(section: str, name: str, data: bytes, status: int = 400) -> Case:
    return Case(section, name, data, (status,), kept=False)


CASES = [
    # messages
    Case("9112 2.2", "an empty line before a request", b"\r\n" + sized()),
    Case("9112 2.2", "an empty line behind a body", sized() + b"\r\n" + sized(), (200, 200)),
    wrong("9112 2.2", "a line that ends in LF alone", b"GET /info HTTP/1.1\nHost: h\n\n"),
    wrong("9112 2.2", "a CR in a field", get(b"GET /info HTTP/1.1", b"X: a\rb")),
    wrong("9112 2.2", "blanks before the first field", b"GET /info HTTP/1.1\r\n Host: h\r\n\r\n"),
    # versions
    Case("9112 2.3", "HTTP/1.0 is closed", get(b"GET /info HTTP/1.0", host=b""), kept=False),
    Case("9112 9.3", "HTTP/1.0 is kept if asked", get(b"GET /info HTTP/1.0", b"Connection: keep-alive"), kept=True),
    Case("9110 2.5", "a higher minor version", get(b"GET /info HTTP/1.2")),
    wrong("9110 15.6.6", "HTTP/2.0", get(b"GET /info HTTP/2.0"), 505),
    wrong("9113 3.4", "HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    wrong("9110 15.6.6", "HTTP/0.9 by name", get(b"GET /info HTTP/0.9"), 505),
    wrong("9112 3", "HTTP/0.9 as it was", b"GET /info\r\n\r\n"),
    wrong("9112 2.3", "a version without a minor one", get(b"GET /info HTTP/1")),
    wrong("9112 2.3", "a version of two digits", get(b"GET /info HTTP/1.10")),
    wrong("9112 2.3", "a version in lower case", get(b"GET /info http/1.1")),
    # the request line
    wrong("9112 3", "two blanks", get(b"GET  /info HTTP/1.1")),
    wrong("9112 3", "a blank at the end", get(b"GET /info HTTP/1.1 ")),
    wrong("9112 3", "a tab", get(b"GET\t/info HTTP/1.1")),
    wrong("9112 3.2", "a blank in the target", get(b"GET /in fo HTTP/1.1")),
    wrong("9112 3.2", "a control character in the target", get(b"GET /in\x01fo HTTP/1.1")),
    wrong("9110 9.1", "a method that is no token", get(b"G(T /info HTTP/1.1")),
    wrong("9112 3", "a target without end", b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
    wrong("9112 3", "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # targets
    Case("9112 3.2.2", "absolute-form", sized(start=b"POST http://elsewhere:1/embed HTTP/1.1")),
    Case("9112 3.2.2", "absolute-form of a route of our own", get(b"GET HTTP://h/info?x HTTP/1.1")),
    wrong("9110 4.2.1", "absolute-form without a host", get(b"GET http:///info HTTP/1.1")),
    wrong("9112 3.2", "another scheme", get(b"GET ftp://h/info HTTP/1.1")),
    wrong("9112 3.2.3", "authority-form of another method", get(b"GET h:80 HTTP/1.1")),
    wrong("9110 9.3.6", "CONNECT", get(b"CONNECT h:80 HTTP/1.1"), 501),
    Case("9110 9.3.7", "OPTIONS of the whole server", get(b"OPTIONS * HTTP/1.1")),
    wrong("9112 3.2.4", "asterisk-form of another method", get(b"GET * HTTP/1.1")),
    # Host
    wrong("9112 3.2", "no Host", get(b"GET /info HTTP/1.1", host=b"")),
    wrong("9112 3.2", "two Hosts", get(b"GET /info HTTP/1.1", b"Host: h")),
    wrong("9112 3.2", "two Hosts in HTTP/1.0", get(b"GET /info HTTP/1.0", b"Host: i")),
    wrong("9112 3.2", "Host with a blank", get(b"GET /info HTTP/1.1", host=b"Host: h i\r\n")),
    wrong("9112 3.2", "Host with a path", get(b"GET /info HTTP/1.1", host=b"Host: h/i\r\n")),
    wrong("9112 3.2", "Host with a user", get(b"GET /info HTTP/1.1", host=b"Host: u@h\r\n")),
    Case("9112 3.2", "an empty Host", get(b"GET /info HTTP/1.1", host=b"Host:\r\n")),
    Case("9110 7.2", "Host in IPv6 with a port", get(b"GET /info HTTP/1.1", host=b"Host: [::1]:8001\r\n")),
    # fields
    wrong("9112 5.1", "a blank before the colon", get(b"GET /info HTTP/1.1", b"X : a")),
    wrong("9112 5.2", "a folded line", get(b"GET /info HTTP/1.1", b"X: a", b" b")),
    wrong("9110 5.1", "a name that is no token", get(b"GET /info HTTP/1.1", b"X(: a")),
    wrong("9110 5.1", "a name of other than ASCII", get(b"GET /info HTTP/1.1", "Ä: a".encode())),
    wrong("9110 5.1", "no name", get(b"GET /info HTTP/1.1", b": a")),
    wrong("9110 5.1", "no colon", get(b"GET /info HTTP/1.1", b"X")),
    wrong("9110 5.5", "NUL in a value", get(b"GET /info HTTP/1.1", b"X: a\0b")),
    wrong("9110 5.5", "a control character in a value", get(b"GET /info HTTP/1.1", b"X: a\x1bb")),
    Case(
        "9110 5.5",
        "an empty value, blanks around one, UTF-8 in one",
        get(b"GET /info HTTP/1.1", b"X:", "Y:\t ü ".encode()),
    ),
    wrong("6585 5", "a field without end", get(b"GET /info HTTP/1.1", b"X: " + b"a" * 40_000), 431),
    wrong("6585 5", "a hundred and more fields", get(b"GET /info HTTP/1.1", *[b"X: a"] * 110), 431),
    # lengths
    Case("9112 6.3", "a body by its length", sized()),
    Case("9110 8.6", "zeros before the length", post(b"Content-Length: 0000000000000000000000%d" % len(BODY))),
    Case("9110 8.6", "a length twice, the same", sized(b"content-length: %d" % len(BODY))),
    Case("9110 8.6", "a length twice in one field", post(b"Content-Length: %d, %d" % (len(BODY), len(BODY)))),
    wrong("9112 6.3", "two lengths", sized(b"content-length: %d" % (len(BODY) - 1))),
    wrong("9112 6.3", "two lengths in one field", post(b"Content-Length: %d, 5" % len(BODY))),
    wrong("9112 6.3", "a length with a sign", post(b"Content-Length: +%d" % len(BODY))),
    wrong("9112 6.3", "a length below zero", post(b"Content-Length: -1")),
    wrong("9112 6.3", "a length in hexadecimal", post(b"Content-Length: 0xe")),
    wrong("9112 6.3", "a length with a blank inside", post(b"Content-Length: 1 4")),
    wrong("9112 6.3", "an underscore in a length", post(b"Content-Length: 1_4")),
    wrong("9112 6.3", "an empty length", post(b"Content-Length: ")),
    wrong("9110 15.5.14", "a length beyond 64 bits", post(b"Content-Length: 99999999999999999999"), 413),
    wrong("9110 15.5.14", "a length of 5,000 digits", post(b"Content-Length: " + b"9" * 5000), 413),
    Case("9112 6.3", "no length is no body", get(b"GET /info HTTP/1.1")),
    Case("9110 9.3.1", "a GET with a body", post(b"Content-Length: 3", body=b"abc", start=b"GET /info HTTP/1.1")),
    # transfer codings
    Case("9112 7.1", "chunks", chunked()),
    Case("9112 7.1", "sizes in capitals, with zeros", chunked(b"000E\r\n" + BODY + b"\r\n000\r\n\r\n")),
    Case("9112 7.1.1", "extensions", chunked(b'e;a=b ;c="d"\r\n' + BODY + b"\r\n0;e\r\n\r\n")),
    Case("9112 7.1.2", "trailers are dropped", chunked(CHUNKED[:-2] + b"Content-Length: 5\r\nHost: i\r\n\r\n")),
    Case("9112 6.1", "chunked in capitals, in a list", post(b"Transfer-Encoding: , Chunked", body=CHUNKED)),
    wrong("9112 7.1.2", "a trailer that is none", chunked(CHUNKED[:-2] + b"X : y\r\n\r\n")),
    wrong("9112 7.1.2", "a trailer without end", chunked(CHUNKED[:-2] + b"X: " + b"a" * 40_000), 431),
    wrong("9112 7.1.1", "an extension without end", chunked(b"e;" + b"a" * 40_000), 431),
    wrong("9112 7.1.1", "extensions without end", chunked(b"1;%b\r\n{\r\n" % (b"a" * 3000) * 12), 431),
    wrong("9112 7.1", "a size that is no number", chunked(b"zz\r\n")),
    wrong("9112 7.1", "a size with a sign", chunked(b"+e\r\n" + BODY)),
    wrong("9112 7.1", "a size with 0x", chunked(b"0xe\r\n" + BODY)),
    wrong("9112 7.1", "a size beyond 64 bits", chunked(b"1" + b"0" * 16 + b"e\r\n" + BODY)),
    wrong("9112 7.1", "a size over the limit", chunked(b"ffffffff\r\n" + BODY), 413),
    wrong("9112 7.1", "an empty size", chunked(b"\r\n" + BODY)),
    wrong("9112 7.1", "a size that ends in LF alone", chunked(b"e\n" + BODY)),
    wrong("9112 7.1", "a chunk longer than it says", chunked(b"d\r\n" + BODY + b"\r\n0\r\n\r\n")),
    wrong("9112 6.3", "length and chunks", chunked(CHUNKED, b"Content-Length: 5")),
    wrong(
        "9112 6.1",
        "chunks in HTTP/1.0",
        post(b"Transfer-Encoding: chunked", start=b"POST /embed HTTP/1.0", body=CHUNKED),
    ),
    wrong("9112 6.1", "a coding that is not done", post(b"Transfer-Encoding: gzip, chunked", body=CHUNKED), 501),
    wrong("9112 6.3", "chunked is not the last", post(b"Transfer-Encoding: chunked, gzip", body=CHUNKED)),
    wrong("9112 6.1", "chunked twice", post(b"Transfer-Encoding: chunked, chunked", body=CHUNKED)),
    wrong("9112 6.1", "chunked twice, in two fields", chunked(CHUNKED, b"Transfer-Encoding: chunked")),
    wrong("9112 6.3", "identity", sized(b"Transfer-Encoding: identity")),
    wrong("9112 6.3", "an unknown coding alone", sized(b"Transfer-Encoding: x-chunked")),
    wrong("9112 6.3", "an empty coding", sized(b"Transfer-Encoding:")),
    # connections
    Case("9112 9.6", "close", sized(b"Connection: close"), kept=False),
    Case("9112 9.6", "close among others", sized(b"Connection: x, Close"), kept=False),
    Case("9112 9.6", "close, and bytes behind it", sized(b"Connection: close") + sized(), kept=False),
    Case("9112 9.3.2", "pipelined requests", sized() + chunked() + sized(), (200, 200, 200)),
    Case("9112 9.3.2", "a request that is none behind one", sized() + b"nonsense\r\n\r\n", (200, 400), kept=False),
    # upgrade
    Case("9110 7.8", "h2c, by length", sized(H2C) + sized(), (200, 200)),
    Case("9110 7.8", "h2c, in chunks", chunked(CHUNKED, H2C) + sized(), (200, 200)),
    Case(
        "9110 7.8",
        "h2c as curl and Java offer it with keep-alive",
        sized(b"Connection: keep-alive, Upgrade", b"Upgrade: h2c"),
    ),
    Case("9110 7.8", "a websocket", sized(b"Connection: upgrade", b"Upgrade: websocket") + sized(), (200, 200)),
    Case("9110 7.8", "Upgrade that Connection does not name", sized(b"Upgrade: foo/2") + sized(), (200, 200)),
    Case("9110 7.8", "an upgrade of a GET", get(b"GET /info HTTP/1.1", H2C)),
    Case("9110 7.8", "an upgrade and close", sized(b"Connection: close, upgrade", b"Upgrade: h2c"), kept=False),
    Case("9110 7.8", "an upgrade in HTTP/1.0 is passed over", sized(H2C, start=b"POST /embed HTTP/1.0"), kept=False),
    # expectations
    Case("9110 10.1.1", "100-continue", sized(b"Expect: 100-continue"), (100, 200)),
    Case("9110 10.1.1", "100-Continue, in chunks", chunked(CHUNKED, b"expect: 100-Continue"), (100, 200)),
    Case(
        "9110 10.1.1",
        "100-continue of HTTP/1.0",
        sized(b"Expect: 100-continue", start=b"POST /embed HTTP/1.0"),
        kept=False,
    ),
    Case("9110 10.1.1", "100-continue without a body", get(b"GET /info HTTP/1.1", b"Expect: 100-continue")),
    Case("9110 10.1.1", "another expectation is passed over", sized(b"Expect: the-best")),
    wrong(
        "9110 10.1.1",
        "100-continue of too much",
        post(b"Content-Length: 9000000", b"Expect: 100-continue", body=b""),
        413,
    ),
    # methods
    Case("9110 9.3.2", "HEAD", get(b"HEAD /info HTTP/1.1")),
    Case("9110 15.5.6", "a method that nobody knows", get(b"BREW /embed HTTP/1.1"), (405,)),
]


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    with engine(BUILTIN) as replica, gateway(Endpoint("r", replica.url)) as port:
        yield {"engine": replica.port, "gateway": port}


class Client:
    """A connection and its replies."""

    def __init__(self, port: int) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def send(self, data: bytes, piece: int) -> None:
        """Send in pieces of this many bytes; the server may close meanwhile."""
        try:
            for at in range(0, len(data), piece):
                self._wire.sendall(data[at : at + piece])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def reply(self, has_body: bool = True) -> tuple[int, bytes]:
        """Status and body of the next reply; 0 if the server closed instead."""
        while b"\r\n\r\n" not in self._data:
            if not self._more():
                assert self._data == b""
                return 0, b""
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
        if not has_body or status < 200:
            length = 0
        while len(self._data) < length:
            assert self._more(), "the body is cut"
        body, self._data = self._data[:length], self._data[length:]
        return status, body

    def _more(self) -> bool:
        try:
            data = self._wire.recv(65_536)
        except ConnectionResetError:
            return False
        self._data += data
        return bool(data)

    def close(self) -> None:
        self._wire.close()


@pytest.mark.parametrize("server", ["gateway", "engine"])
@pytest.mark.parametrize("piece", [1 << 20, 1, 7], ids=["whole", "bytes", "sevens"])
@pytest.mark.parametrize("case", CASES, ids=[f"{case.section} {case.name}" for case in CASES])
def test_a_request_is_answered_as_the_rfc_has_it(ports, server, piece, case):
    if piece < len(case.data) / 2000:
        pytest.skip("too long for pieces so small")
    client = Client(ports[server])
    try:
        client.send(case.data, piece)
        replies = [client.reply(has_body=b"HEAD " not in case.data) for _ in case.statuses]
        assert tuple(status for status, _ in replies) == case.statuses
        for status, body in replies:
            assert status != 200 or b"/embed" not in case.data or body.startswith(b"[[")
        client.send(LAST, 1 << 20)
        assert client.reply()[0] == (200 if case.kept else 0)
        assert client.reply()[0] == 0
    finally:
        client.close()


def test_the_answer_to_an_upgrade_is_that_to_the_same_request_without(ports):
    for port in ports.values():
        client = Client(port)
        for data in (sized(), sized(H2C), chunked(CHUNKED, H2C)):
            client.send(data, 1 << 20)
        plain, *others = [client.reply() for _ in range(3)]
        assert plain[0] == 200
        assert others == [plain, plain]
        client.close()


def test_what_is_wrong_is_not_learnt(ports):
    """A refused head is refused again, even after a similar head was accepted."""
    for port in ports.values():
        for data in (sized(), sized(host=b""), sized(b"content-length: 5"), sized(), sized(host=b"")):
            client = Client(port)
            client.send(data, 1 << 20)
            assert client.reply()[0] == (200 if data == sized() else 400)
            client.close()
