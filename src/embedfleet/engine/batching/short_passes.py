"""The short passes of an engine, which run in the event loop's thread: to wake a worker would take longer."""

import asyncio

from embedfleet.engine.batching.batch_queue import BatchQueue
from embedfleet.engine.batching.worker import Worker


class ShortPasses:
    """Runs short passes in the event loop, each for all requests that came in one turn of the loop.

    Args:
        queue: Queue of batches.
        worker: Worker that runs the passes; no thread runs it.
    """

    def __init__(self, queue: BatchQueue, worker: Worker) -> None:
        self._queue = queue
        self._worker = worker
        self._due_in: asyncio.AbstractEventLoop | None = None  # loop whose next turn runs a pass

    def request(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the next batch in the loop's next turn, if its pass is short; called in the loop's thread."""
        if self._due_in is not loop:
            self._due_in = loop
            loop.call_soon(self._run_due, loop)

    def run(self) -> None:
        """Run the next batch now, if its pass is short; called in a loop's thread."""
        batch = self._queue.take_short()
        if batch:
            self._worker.work(batch)
            if len(self._queue):
                self.request(asyncio.get_running_loop())

    def _run_due(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._due_in is loop:
            self._due_in = None
        self.run()
