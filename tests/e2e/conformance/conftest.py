"""A server for each kind of model, and our gateway in front of each; started when the first test asks for it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from embedfleet.engine.settings import EngineSettings
from embedfleet.gateway.app import App
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.types import Endpoint
from tests.services.engine import BUILTIN, serving
from tests.services.models import make_bert, make_xlm

LIMIT_S = 60


def settings_of(kind: str, folder: Path) -> EngineSettings:
    """An engine's, for a small model of the kind."""
    match kind:
        case "embedding":
            return BUILTIN
        case "reranker":
            return replace(BUILTIN, model=str(make_xlm(folder / kind, labels=1)))
        case "classifier":
            return replace(BUILTIN, model=str(make_bert(folder / kind, labels=3)))
    return replace(BUILTIN, model=str(make_bert(folder / kind)), pooling="splade")


@contextmanager
def gateway_before(url: str) -> Iterator[str]:
    """Our gateway over one replica, in a thread of its own; by its address, once the replica serves."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> App:
        app = App(GatewaySettings(replicas=(Endpoint("a", url),)))
        await app.server.start()
        app.proxy.start()
        async with asyncio.timeout(LIMIT_S):
            while app.status()[0]["state"] != "active":
                await asyncio.sleep(0)
        return app

    async def stop(app: App) -> None:
        await app.server.stop(0)
        app.proxy.stop()

    app = asyncio.run_coroutine_threadsafe(start(), loop).result(LIMIT_S)
    try:
        yield f"http://127.0.0.1:{app.server.port}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(app), loop).result(LIMIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """Kind of model and of server → its address."""
    folder = tmp_path_factory.mktemp("conformance")
    found: dict[tuple[str, str], str] = {}
    with ExitStack() as stack:

        def start(kind: str, server: str) -> str:
            if (kind, server) not in found:
                if server == "engine":
                    found[kind, server] = stack.enter_context(serving(settings_of(kind, folder))).url
                else:
                    found[kind, server] = stack.enter_context(gateway_before(start(kind, "engine")))
            return found[kind, server]

        yield start
