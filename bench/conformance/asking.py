"""Sending of requests, each over a new socket, with the same bytes as for the recordings."""

import re
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

import orjson

from bench.conformance.recording import LONGEST_KEPT, Answer, Field, Request, kept

_TIMEOUT_S = 60.0
_RETRY_S = 0.05
_WITH_LENGTH = ("POST", "PUT", "PATCH")
_SERIES = re.compile(rb"^# TYPE (\S+ \S+)", re.MULTILINE)


def ask(url: str, request: Request, *, longest: int = LONGEST_KEPT) -> Answer:
    """Send a request and read the answer.

    Args:
        url: Address of the server.
        request: Request to send.
        longest: Size in bytes up to which a body is kept; only the length of a longer one is kept.

    Raises:
        ConnectionError: Nothing listens there.
        TimeoutError: The server does not answer.
        ValueError: The answer is not HTTP.
    """
    status, headers, body = _parse(_exchange(url, request))
    if request.path == "/metrics" and request.method == "GET" and status == 200:
        body = orjson.dumps(sorted({name.decode() for name in _SERIES.findall(body)}))
    return Answer(status, headers, kept(body, request.target, longest))


def wait_for(url: str, seconds: float = _TIMEOUT_S) -> None:
    """Wait until a server accepts connections, for example after a restart.

    Raises:
        TimeoutError: The server does not accept connections in that time.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            _connect(url).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise TimeoutError(f"nothing listens at {url}") from None
            time.sleep(_RETRY_S)
        else:
            return


def _connect(url: str) -> socket.socket:
    at = urlsplit(url)
    return socket.create_connection((at.hostname or "", at.port or 80), timeout=_TIMEOUT_S)


def _exchange(url: str, request: Request) -> bytes:
    fields = {"host": urlsplit(url).netloc, "connection": "close"}
    if request.method in _WITH_LENGTH:
        fields["content-length"] = str(len(request.body))
    fields |= dict(request.headers)
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    data = b""
    with _connect(url) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # The server may refuse before it has read everything.
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + request.body)
        with suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                data += chunk
    return data


def _parse(data: bytes) -> tuple[int, tuple[Field, ...], bytes]:
    if not data:
        return 0, (), b""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not words[1].isdecimal():
        raise ValueError(f"{first[:80]!r} is not an HTTP status line")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    if any(name.lower() == "transfer-encoding" for name, _ in headers):
        body = _joined(body)
    return int(words[1]), headers, body


def _joined(body: bytes) -> bytes:
    """A body without its chunk framing."""
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length:
            break
        whole, body = whole + body[:length], body[length + 2 :]
    return whole
