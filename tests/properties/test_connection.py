"""A server's connection under any client, which sends any pieces of bytes, and reads, pauses and leaves at any time.

Requests are answered correctly and in order, the memory for a client stays within its bound, and is released.
"""

import gc
import itertools
import sys
from collections import deque
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.http.connection import Connection
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import Limits
from embedfleet.http.server import Server
from tests.services.wire import HIGH_WATER, Turns, Wire

LIMITS = Limits(header_bytes=600, body_bytes=5000)
AHEAD = 65_536
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n"
FIELDS = [b"", b"X-A: 1\r\n", b"x-b:2\r\nX-C:\t3 \r\n", H2C, b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n"]
# Bytes that end the connection, and the status of the answer to them.
ENDS = {
    b"": 0,
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /more HTTP/1.1\r\n": 200,
    b"GET / HTTP/1.1\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: h\r\n X: folded\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5001\r\n\r\n" + b"x" * 400: 413,
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\nxx": 400,
    b"GET /" + b"a" * 700: 414,
    b"GET / HTTP/1.1\r\nX: " + b"a" * 700: 431,
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5001: 413,
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 70_000: 431,
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 70_000: 431,
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxxxx": 400,
    b"\x16\x03\x01\x00": 400,
}


@dataclass(frozen=True)
class Asked:
    """A request, and the body of the answer to it."""

    data: bytes
    answer: bytes


@st.composite
def requests(draw) -> Asked:
    body = draw(st.binary(max_size=60)) * draw(st.sampled_from([1, 1, 1, 80]))
    times = draw(st.sampled_from([1, 1, 1, 30]))
    target = b"/%d" % times
    fields = draw(st.sampled_from(FIELDS))
    gap = draw(st.sampled_from([b"", b"", b"\r\n"]))
    if draw(st.booleans()):
        framed = b"Content-Length: %d\r\n%b\r\n%b" % (len(body), fields, body)
    else:
        size = draw(st.integers(1, 50))
        end = draw(st.sampled_from([b"", b";e=1"])) if size >= 40 else b""  # all extensions together are limited too
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        payload = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), end, chunk) for chunk in chunks)
        trailers = draw(st.sampled_from([b"", b"X-T: 1\r\nX-U: 2\r\n"]))
        framed = b"Transfer-Encoding: chunked\r\n%b\r\n%b0\r\n%b\r\n" % (fields, payload, trailers)
    return Asked(gap + b"POST %b HTTP/1.1\r\nHost: h\r\n%b" % (target, framed), body * times)


class Trial:
    """A server, one client, and answers that are given at once or in later steps."""

    def __init__(self, later: bool) -> None:
        self.loop = Turns()
        self.held: deque[Exchange] = deque()
        self.alone = object()
        self._later = later
        self.server = Server(self._take, LIMITS)
        self.server.loop = self.loop
        self.connection = Connection(self.server)
        self.wire = Wire(self.loop, self.connection)

    def _take(self, exchange: Exchange) -> None:
        if self._later:
            self.held.append(exchange)
        else:
            self._answer(exchange)

    def _answer(self, exchange: Exchange) -> None:
        exchange.respond(200, [], exchange.body * int(exchange.target[1:] or b"1"))

    def step(self, what: int) -> None:
        """Let the loop turn, an answer be given, or the client read."""
        if what == 0:
            self.loop.turn()
        elif what == 1 and self.held:
            self._answer(self.held.popleft())
        elif what > 1:
            self.wire.read(what)
        self.loop.now += 0.001

    def finish(self) -> None:
        """Answer all requests, and let the client read all replies."""
        more = True
        while more:
            more = bool(self.held) or bool(self.wire.unread)
            while self.held:
                self._answer(self.held.popleft())
            self.wire.read()
            more = self.loop.run() or more

    def cost(self) -> int:
        """Bytes from the client that the server holds."""
        framing = self.connection._framing
        return len(self.connection._unread) + len(getattr(framing, "_payload", b""))


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each reply except interim ones."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        if status == 100:
            continue
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        found.append((status, data[:length]))
        assert len(data) >= length
        data = data[length:]
    return found


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


asked = st.lists(requests(), max_size=6)
cut = st.lists(st.integers(0, 100_000), max_size=40)
steps = st.lists(st.sampled_from([0, 0, 0, 1, 1, 7, 5000, 100_000]), max_size=60)


@given(asked=asked, end=st.sampled_from(sorted(ENDS)), cuts=cut, doing=steps, later=st.booleans(), half=st.booleans())
@settings(max_examples=200, deadline=None)
def test_requests_are_answered_in_order_and_within_the_memory_bound(asked, end, cuts, doing, later, half):
    trial = Trial(later)
    parts = pieces(b"".join(one.data for one in asked) + end, cuts)
    most = max(map(len, parts), default=0)
    for part, what in itertools.zip_longest(parts, doing):
        if part is not None and not trial.wire.is_closing():
            trial.wire.send(part)
        if what is not None:
            trial.step(what)
        assert trial.cost() <= LIMITS.body_bytes + max(LIMITS.header_bytes, AHEAD) + most
    if half and not trial.wire.is_closing():
        trial.wire.send(None)
    trial.finish()
    told = answers(bytes(trial.wire.received))
    assert [body for _, body in told[: len(asked)]] == [one.answer for one in asked]
    assert [status for status, _ in told] == [200] * len(asked) + [ENDS[end]] * bool(end)
    assert trial.wire.ended is (half or bool(end))
    assert trial.wire.most_written <= HIGH_WATER + max([len(one.answer) for one in asked], default=0) + 1000


@given(
    asked=asked,
    end=st.sampled_from(sorted(ENDS)),
    cuts=cut,
    doing=steps,
    later=st.booleans(),
    left_after=st.integers(0, 60),
)
@settings(max_examples=200, deadline=None)
def test_nothing_of_a_client_that_left_is_kept(asked, end, cuts, doing, later, left_after):
    trial = Trial(later)
    gone: list[bool] = []
    parts = pieces(b"".join(one.data for one in asked) + end, cuts)
    for part, what in itertools.islice(itertools.zip_longest(parts, doing), left_after):
        if part is not None and not trial.wire.is_closing():
            trial.wire.send(part)
        if what is not None:
            trial.step(what)
    waiting = 0
    while trial.held and trial.held[0].gone:
        trial.held.popleft()
    if trial.held:
        trial.held[0].on_gone, waiting = lambda: gone.append(True), 1
    gc.disable()
    try:
        trial.wire.leave()
        trial.loop.now += 10
        trial.loop.run()
        assert len(gone) == waiting
        trial.held.clear()
        assert not trial.server.clients
        assert trial.cost() == 0
        references, alone = sys.getrefcount(trial.connection), sys.getrefcount(trial.alone)
        assert references == alone  # only the trial refers to it
    finally:
        gc.enable()
