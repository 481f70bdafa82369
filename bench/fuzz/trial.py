"""A trial of one folder in a separate process: served or refused, in bounded time and memory, without a crash."""

import asyncio
import os
import resource
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import orjson

from bench.fuzz.run import judge
from embedfleet.engine.api.app import App
from embedfleet.engine.engine import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError, UpstreamError
from embedfleet.http.client import Reply, fetch
from embedfleet.http.server import Server
from embedfleet.metrics import TEI, Registry

_SECONDS = 20.0
_MEGABYTES = 1000.0
_SPACE = 1_500_000_000  # Address space beyond the current size; threads reserve much that they never touch.
_NO_ROOM = "not enough memory"
_OUT_OF_MEMORY = b"out of memory"
_LONG = "the river of stone " * 200

_TEXTS: dict[str, object] = {"inputs": ["warm", "é 日 🙂", _LONG], "truncate": True}
_PROMPT: dict[str, object] = {"prompt_name": "query"}
_REQUESTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("/embed", _TEXTS),
    ("/embed", _TEXTS | _PROMPT | {"normalize": False}),
    ("/embed", {"inputs": [[5, 6], [0, 1, 2]]}),
    ("/embed_all", _TEXTS),
    ("/embed_sparse", _TEXTS),
    ("/encode", {"inputs": ["a river"], "sparse": True, "colbert": True}),
    ("/v1/embeddings", {"input": "a river", "model": "m"}),
    ("/rerank", {"query": "stone", "texts": ["river", _LONG], "truncate": True}),
    ("/predict", {"inputs": "warm up"}),
    ("/predict", {"inputs": [["warm", "up"]], "raw_scores": True}),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b", "c"]}}),
    ("/tokenize", _PROMPT | {"inputs": "the river é"}),
    ("/decode", {"ids": [0, 1, 5]}),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome for a folder.

    Attributes:
        is_served: Whether it was loaded; otherwise it was refused.
        told: Description of the fault; empty if there is none.
    """

    is_served: bool
    told: str


def context() -> ForkServerContext:
    """A context that starts processes for `attempt`: copies of one that has imported everything and run nothing."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # A process with several threads cannot be forked safely.
    found = get_context("forkserver")
    found.set_forkserver_preload([__name__, "embedfleet.engine.onnx.model_graph"])
    return found


def attempt(context: ForkServerContext, folder: Path, settings: EngineSettings) -> Trial:
    """Load a folder in a process and let it answer some requests of every kind.

    Args:
        context: Context made by `context`.
        folder: Folder that the settings name.
        settings: Settings of the engine.
    """
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(writer, folder, settings), daemon=True)
    process.start()
    writer.close()
    try:
        trial = reader.recv() if reader.poll(_SECONDS) else Trial(False, f"not finished after {_SECONDS:.0f} s")
    except EOFError:
        process.join()
        trial = Trial(False, f"the process ended with {process.exitcode}")
    finally:
        reader.close()
        process.kill()
        process.join()
        process.close()
    assert isinstance(trial, Trial)
    return trial


def _try(writer: Connection, folder: Path, settings: EngineSettings) -> None:
    """Perform the trial inside of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Libraries print to stderr.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_addresses() + _SPACE,) * 2)
    before = _held_mb()
    trial = _outcome(folder, settings)
    grown = _held_mb() - before
    if not trial.told and grown > _MEGABYTES:
        trial = Trial(trial.is_served, f"{grown:.0f} MB of memory")
    writer.send(trial)
    writer.close()


def _outcome(folder: Path, settings: EngineSettings) -> Trial:
    registry = Registry(TEI)
    try:
        engine = load(settings, registry)
    except ModelError as error:
        told = "" if str(folder) in error.message and _NO_ROOM not in error.message else f"refused: {error.message}"
        return Trial(False, told[:1000])
    except BaseException as error:  # noqa: BLE001 - an error of any kind is a finding
        return Trial(False, f"{type(error).__name__}: {error}"[:1000])
    try:
        told = asyncio.run(_asked(App(engine, settings, registry)))
        engine.close()
    except BaseException as error:  # noqa: BLE001
        told = f"{type(error).__name__}: {error}"[:1000]
    return Trial(True, told)


async def _asked(app: App) -> str:
    """The first fault of the answers; empty if there is none."""
    server = Server(app.handle)
    await server.start()
    url = f"http://127.0.0.1:{server.port}"
    wrong = [_judged("/info", await fetch(f"{url}/info", timeout_s=_SECONDS))]
    for path, value in _REQUESTS:
        try:
            headers = [(b"content-type", b"application/json")]
            body = orjson.dumps(value)
            reply = await fetch(url + path, method="POST", body=body, headers=headers, timeout_s=_SECONDS)
        except UpstreamError as error:
            wrong.append(f"{path}: no answer: {error}")
        else:
            wrong.append(_judged(path, reply))
    await server.stop(0)
    return next(filter(None, wrong), "")


def _judged(path: str, reply: Reply) -> str:
    told = judge(reply)
    if not told and _OUT_OF_MEMORY in reply.body:
        told = f"{reply.body[:200]!r}"
    if not told and reply.status == 200 and "embed" in path and b"null" in reply.body:
        told = "null in place of a number"
    return f"{path}: {told}" if told else ""


def _addresses() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _held_mb() -> float:
    """Peak memory of this process, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
