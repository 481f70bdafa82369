"""An engine in a thread of this process, and a client for it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import orjson

from embedfleet.engine.api.app import make_server
from embedfleet.engine.engine import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.http.server import Server
from embedfleet.metrics import TEI, Registry


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Client:
    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: bytes = b"", content_type: str | None = None) -> Answer:
        connection = HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, {"content-type": content_type} if content_type else {})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        finally:
            connection.close()

    def post(self, path: str, value: Any) -> Answer:
        return self.request("POST", path, orjson.dumps(value), "application/json")

    def get(self, path: str) -> Answer:
        return self.request("GET", path)


@contextmanager
def serving(settings: EngineSettings) -> Iterator[Client]:
    registry = Registry(TEI)
    engine = load(settings, registry)
    loop = asyncio.new_event_loop()
    started: list[Server] = []
    ready = threading.Event()

    async def start() -> None:
        server = make_server(engine, settings, registry)
        await server.start()
        started.append(server)
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(60)
    try:
        yield Client(started[0].port)
    finally:
        asyncio.run_coroutine_threadsafe(started[0].stop(0), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        engine.close()


BUILTIN = EngineSettings(model="builtin", served_model_name="minilm")
