"""A fake Docker daemon at a Unix socket, which records its requests and starts nothing."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON
from embedfleet.http.server import Server

VERSION = {"Version": "28.2.2", "ApiVersion": "1.41", "MinAPIVersion": "1.24", "Components": []}
FINGERPRINT = "io.embedfleet.fingerprint"


class Fake(Protocol):
    """A fake daemon."""

    server: Server


F = TypeVar("F", bound=Fake)


@contextmanager
def listening(path: str, fake: F) -> Iterator[F]:
    """Serve a fake daemon in a thread, because the docker package blocks."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(fake.server.start(path=path))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(fake.server.stop(0), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class FakeDaemon:
    """A Docker daemon with images and no containers; it can start no container except trials, which have no name.

    Args:
        root: Folder of its data.
        images: References of the images that it has; None for every image.

    Attributes:
        asked: Number of requests by method and path.
        fingerprints: Fingerprint label of each named container that it was asked to create.
    """

    def __init__(self, root: str, images: set[str] | None = None) -> None:
        self.asked: Counter[str] = Counter()
        self.fingerprints: dict[str, str] = {}
        self.server = Server(self._handle)
        self._root = root
        self._images = images

    def _handle(self, exchange: Exchange) -> None:
        target = urlsplit(exchange.target.decode())
        path = target.path.removeprefix("/v1.41")
        self.asked[f"{exchange.method.decode()} {path}"] += 1
        status, answer = self._answer(path, exchange, parse_qs(target.query))
        exchange.respond(status, [JSON], orjson.dumps(answer))

    def _answer(self, path: str, exchange: Exchange, query: dict[str, list[str]]) -> tuple[int, object]:
        if path == "/containers/create" and "name" in query:
            self.fingerprints[query["name"][0]] = orjson.loads(exchange.body)["Labels"][FINGERPRINT]
            return 500, {"message": "this daemon starts nothing"}
        if path.startswith("/images/"):
            has = self._images is None or unquote(path.removeprefix("/images/").removesuffix("/json")) in self._images
            return (200, {"Id": "sha256:" + "a" * 64}) if has else (404, {"message": "no such image"})
        answers: dict[str, object] = {
            "/version": VERSION,
            "/info": {"DockerRootDir": self._root, "Runtimes": {"nvidia": {}}},
            "/containers/json": [],
            "/containers/create": {"Id": "trial"},
            "/containers/trial/json": {"Id": "trial", "Config": {"Tty": True}},
            "/containers/trial/start": {},
            "/containers/trial/wait": {"StatusCode": 0},
            "/containers/trial/logs": "",
            "/containers/trial": {},
            "/networks": [],
            "/networks/create": {"Id": "network"},
            "/networks/network": {"Id": "network", "Name": "network"},
        }
        return (200, answers[path]) if path in answers else (404, {"message": "not found"})
