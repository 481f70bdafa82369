"""A fake replica with enough of TEI's interface for a gateway, which misbehaves as a test demands."""

import asyncio
from collections import deque
from typing import Any

import orjson

from bench.fake_tei import calls
from bench.fake_tei.model import FakeModel
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import BODILESS, JSON, TEXT
from embedfleet.http.server import Server
from embedfleet.probe.question import question
from embedfleet.types import Endpoint

INFO: dict[str, Any] = {
    "model_id": "/models/fake",
    "model_sha": None,
    "model_dtype": "float32",
    "model_type": {"embedding": {"pooling": "mean"}},
    "version": "1.9.3",
}
PROBE = question(INFO)[1]
_TURNS = 10  # turns of the event loop from a connection's accept to its protocol
LIES = {"nulls": b"[[null,null]]", "short": b"[]", "cut": b"[[0.5,0.2"}


class FakeReplica:
    """A replica that answers ``/embed`` with its own number for each text, so that a test sees which one answered.

    ``mode`` is its behaviour towards requests. An int is the status of its answers; bytes are sent as they are, and
    nothing after them; ``die`` ends it like a process until it is started again; `behave` and `break_off` have the
    other modes. ``probe_mode`` is its behaviour towards probes, ``info_mode`` towards ``/info``, ``poisoned`` towards
    requests with the text ``poison``. ``/tokenize`` and ``/decode`` are `FakeModel`'s.
    """

    def __init__(self, number: float = 0.5) -> None:
        self.number = number
        self.mode: int | str | bytes = 200
        self.decoded: Any = None  # its answer to all ids in place of the true one; ``hang`` for no answer
        self.questions = 0  # number of requests to the tokenizer
        self.probe_mode: int | str | bytes = 200
        self.info = dict(INFO)
        self.info_mode: int | bytes = 200
        self.seen: list[Exchange] = []
        self.held: deque[Exchange] = deque()
        self.probes_held: deque[Exchange] = deque()
        self.poison = ""
        self.poisoned: int | str | bytes = 424
        self.deaths = 0
        self.model = FakeModel()
        self.echo = False
        self.dimensions = 1
        self.vector = [3.0, 4.0]  # the answer to a probe, which identifies the model
        self.weights: dict[int, float] = {}  # the same for /embed_sparse
        self.probes = 0
        self.tokens = b""  # its token count of every request in place of the true one
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        self.probes_under_way = 0
        self.dying: asyncio.Task[None] | None = None
        self.server = Server(self.handle)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def endpoint(self, name: str) -> Endpoint:
        return Endpoint(name, self.url)

    async def start(self, port: int = 0) -> "FakeReplica":
        self.server = Server(self.handle)
        await self.server.start(port=port)
        return self

    async def kill(self) -> None:
        """Die like a process: no request is finished."""
        for client in list(self.server.clients):
            client.abort()
        await self.server.stop(0)
        for _ in range(_TURNS):  # Connections that the kernel had already accepted arrive only now.
            await asyncio.sleep(0)
            for client in list(self.server.clients):
                client.abort()

    def handle(self, exchange: Exchange) -> None:
        if exchange.path == "/info":
            if isinstance(self.info_mode, bytes):
                exchange._connection.write(self.info_mode)
            else:
                exchange.respond(200, [JSON], orjson.dumps(self.info))
            return
        self.questions += exchange.path in calls.ASKED
        if exchange.path == "/decode" and self.decoded == "hang":
            return
        if exchange.path == "/decode" and self.decoded is not None:
            exchange.respond(200, [JSON], orjson.dumps(self.decoded))
            return
        if exchange.path in calls.ASKED:
            reading = calls.Reading(longest=512, client_batch=32, model=self.model)
            value = calls.ask(exchange.path, exchange.header(b"content-type"), exchange.body, reading)
            exchange.respond(200, [JSON], orjson.dumps(value))
            return
        if exchange.path == "/embed_sparse" and orjson.loads(exchange.body).get("inputs") == PROBE["inputs"]:
            self.probes += 1
            rows = [{"index": index, "value": value} for index, value in self.weights.items()]
            exchange.respond(200, [JSON], orjson.dumps([rows]))
            return
        if exchange.path == "/embed" and orjson.loads(exchange.body) == PROBE:
            self.probes += 1
            if self.probe_mode == "hold":
                self.probes_held.append(exchange)
            else:
                self.behave(exchange, self.probe_mode)
            return
        self.seen.append(exchange)
        self.arrived.set()
        is_poisoned = self.poison and self.poison in orjson.loads(exchange.body).get("inputs", ())
        self.behave(exchange, self.poisoned if is_poisoned else self.mode)

    def count_of(self, text: str) -> int:
        """Number of requests for a text."""
        return sum(text.encode() in exchange.body for exchange in self.seen)

    def behave(self, exchange: Exchange, mode: int | str | bytes) -> None:
        match mode:
            case 200:
                self.answer(exchange)
            case "hold" | "hang":
                exchange.on_gone = self.left.set
                self.held.append(exchange)
            case int():
                body = orjson.dumps({"error": f"Backend error: status {mode}", "error_type": "Backend"})
                exchange.respond(mode, [JSON], b"" if mode in BODILESS else body)
            case bytes():
                exchange._connection.write(mode)
            case "drip":
                exchange.start(200, [JSON], None)
                self.drip(exchange)
            case str() if mode in LIES:
                exchange.respond(200, [JSON], LIES[mode])
            case _:
                self.break_off(exchange, mode)

    def break_off(self, exchange: Exchange, mode: str) -> None:
        match mode:
            case "reset":
                exchange.abort()
            case "die":
                self.deaths += 1
                self.dying = asyncio.get_running_loop().create_task(self.kill())
            case "half":
                exchange.start(200, [JSON], 1000)
                exchange.write(b"[[0.1,")
                asyncio.get_running_loop().call_soon(exchange.abort)
            case "garbage":
                exchange._connection.write(b"this is not HTTP\r\n\r\n")
            case "redirect":
                exchange.respond(307, [(b"location", b"/elsewhere")], b"")
            case "huge":
                exchange.start(200, [JSON], None)
                for _ in range(100):
                    exchange.write(b"x" * 100_000)
                exchange.finish()
            case "stalled stream":
                exchange.on_gone = self.left.set
                exchange.start(200, [JSON], None)
                exchange.write(b"x" * 200_000)
            case "broken stream":
                exchange.start(200, [JSON], None)
                exchange.write(b"x" * 200_000)
                asyncio.get_running_loop().call_later(0.05, exchange.abort)
            case _:
                raise AssertionError(mode)

    def drip(self, exchange: Exchange) -> None:
        """Send pieces of a reply at intervals, without an end."""
        if not exchange.gone:
            exchange.write(b"x" * 2000)
            asyncio.get_running_loop().call_later(0.01, self.drip, exchange)

    def answer(self, exchange: Exchange) -> None:
        if exchange.path == "/missing":
            exchange.respond(404, [TEXT], b"")
            return
        inputs = orjson.loads(exchange.body).get("inputs", []) if exchange.body else []
        count = len(inputs) if isinstance(inputs, list) else 1
        headers = [JSON, (b"x-compute-tokens", self.tokens or b"%d" % max(1, len(exchange.body) // 2))]
        vectors = [[self.number] * self.dimensions] * count
        if inputs == PROBE["inputs"]:
            vectors = [self.vector]
        elif self.echo:  # the number that the text ends with
            vectors = [[float(text.split()[-1])] for text in (inputs if isinstance(inputs, list) else [inputs])]
        exchange.respond(200, headers, orjson.dumps(vectors))
