"""Background tasks; asyncio alone would not protect them from garbage collection."""

import asyncio
from collections.abc import Coroutine


class BackgroundTasks:
    """Background tasks, kept until they end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run a coroutine as a background task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
