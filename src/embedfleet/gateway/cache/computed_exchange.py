"""Exchanges whose answers go to the cache's requests instead of a client."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from typing_extensions import override

from embedfleet.dialects.error_reply import render_error
from embedfleet.errors import Internal
from embedfleet.http.exchange import Exchange, Wire
from embedfleet.http.message import Header


class _NoWire(Wire):
    """Stands for the connection of a client; nothing is written to it."""

    def __init__(self, peer: bytes) -> None:
        self.peer = peer
        self.draining = False

    @property
    @override
    def date(self) -> bytes:
        return b""

    @override
    def write(self, data: bytes) -> None:
        raise AssertionError("its exchange keeps the answer")

    @override
    def abort(self) -> None:
        """Do nothing: there is no connection."""

    @override
    def answered(self, keep_alive: bool) -> None:
        """Do nothing: no other exchange follows."""


class ComputedExchange(Exchange):
    """An exchange that keeps its answer, and then calls back.

    Args:
        client: Exchange with the client that asks.
        body: Body of the request: the client's, or one for some of its texts.

    Attributes:
        status: Status of the answer; 0 before there is one.
        fields: Raw fields of the answer, each with its CRLF.
        answer_body: Body of the answer.
        on_done: Callback for the answer; called once, unless the exchange is left before.
    """

    __slots__ = ("_headers", "answer_body", "fields", "on_done", "status")

    can_stream: ClassVar[bool] = False

    def __init__(self, client: Exchange, body: bytes) -> None:
        super().__init__(_NoWire(client.peer), client.head, body)
        self.status = 0
        self.fields = b""
        self.answer_body = b""
        self.on_done: Callable[[], None] | None = None
        self._headers: Sequence[Header] | None = None  # of an answer of the gateway itself

    @property
    @override
    def is_plain(self) -> bool:
        return False  # so that fields and body come apart

    @override
    def respond(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        self._headers = headers
        self._keep(status, b"".join([b"%b: %b\r\n" % header for header in headers]), body)

    @override
    def pass_on(self, status: int, fields: bytes, body: bytes) -> None:
        self._keep(status, fields, body)

    @override
    def abort(self) -> None:
        status, headers, body = render_error(self.path, Internal("the gateway failed on this request"))
        self.respond(status, headers, body)

    @override
    def leave(self) -> None:
        self.on_done = None
        super().leave()

    def replay(self, exchange: Exchange) -> None:
        """Give the answer to a client, as the client would have got it without the cache."""
        if self._headers is not None:
            exchange.respond(self.status, self._headers, self.answer_body)
        else:
            exchange.pass_on(self.status, self.fields, self.answer_body)

    def _keep(self, status: int, fields: bytes, body: bytes) -> None:
        if self.gone:
            return
        self.status, self.fields, self.answer_body = status, fields, body
        self.gone = True
        on_done = self.on_done
        self.on_gone = self.on_drain = self.on_done = None  # they refer to objects that refer back
        if on_done is not None:
            on_done()
