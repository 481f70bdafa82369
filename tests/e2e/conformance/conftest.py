"""A server for each recording and our gateway in front of it, started for the first test that needs it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.conformance.models import write_models
from embedfleet.engine.settings import EngineSettings
from embedfleet.gateway.app import App
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.types import Endpoint
from tests.services.engine import BUILTIN, serving

LIMIT_S = 60


def settings_of(recording: str, folder: Path) -> EngineSettings:
    """Settings of an engine, as TEI was started for a recording; ``builtin`` and ``late`` were not recorded."""
    if recording in {"builtin", "late"}:
        return replace(BUILTIN, task="rerank" if recording == "late" else "auto")
    name = recording if recording in {"reranker", "classifier", "splade"} else "embedder"
    settings = EngineSettings(model=str(folder / name), served_model_name=name, max_client_batch_size=32)
    match recording:
        case "splade":
            return replace(settings, pooling="splade")
        case "closed":
            return replace(settings, api_key="secret")
        case "strict":
            return replace(
                settings,
                auto_truncate=False,
                max_client_batch_size=3,
                default_prompt_name="query",
                served_model_name="river",
                payload_limit_bytes=2000,
            )
    return settings


@contextmanager
def gateway_before(url: str) -> Iterator[str]:
    """Run our gateway over one replica in a thread; gives its address once the replica serves."""
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
def models(tmp_path_factory) -> Path:
    """Folder of the recorded models."""
    folder = tmp_path_factory.mktemp("conformance") / "models"
    write_models(folder)
    return folder


@pytest.fixture(scope="session")
def address(models):
    """A function from a recording and a kind of server to its address."""
    found: dict[tuple[str, str], str] = {}
    with ExitStack() as stack:

        def start(recording: str, server: str) -> str:
            if (recording, server) not in found:
                if server == "engine":
                    found[recording, server] = stack.enter_context(serving(settings_of(recording, models))).url
                else:
                    found[recording, server] = stack.enter_context(gateway_before(start(recording, "engine")))
            return found[recording, server]

        yield start
