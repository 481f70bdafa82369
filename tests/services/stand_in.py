"""Fake TEI replicas with a model folder, in threads for clients that block."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bench.fake_tei.replica import Replica
from bench.fake_tei.served import Served
from bench.fake_tei.settings import ReplicaSettings
from embedfleet.config.settings import PoolingChoice
from embedfleet.simulation.batch_cost import BatchCost

QUICK = BatchCost(a_s=0.0002, b_s=1e-9, batch_tokens=16_384)  # batch_tokens as in the recordings
T = TypeVar("T")
LIMIT_S = 30


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def stand_in(folder: Path | None, pooling: PoolingChoice = "auto", **settings: Any) -> Iterator[str]:
    """Run a fake TEI, and yield its address; requests that would end TEI's process make it refuse connections briefly.

    Without a folder its answers follow from the texts.
    """
    told = ReplicaSettings(model=folder.name if folder else "", cost=QUICK, back_s=0.02, **settings)

    async def start(served: Served | None) -> Replica:
        replica = Replica("0", told, served)
        await replica.listen()
        return replica

    async def stop(replica: Replica) -> None:
        replica.close()

    with ExitStack() as stack:
        served = stack.enter_context(closing(Served(folder, told, pooling))) if folder else None
        loop = stack.enter_context(closing(Loop()))
        replica = loop.run(start(served))
        try:
            yield f"http://127.0.0.1:{replica.port}"
        finally:
            loop.run(stop(replica))
