"""Removal of the replicas of a service's former model, before the first one of the new model starts."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from embedfleet.control.drivers.base import Driver
from embedfleet.control.plan.specs import ChildSpec

log = logging.getLogger(__name__)

_RETRY_S = 1.0


class OldModelRemoval:
    """Ends the children that were found under the names of replicas and serve another model.

    Args:
        changed: Function that is called when all such replicas of a service have ended.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_over = False

    def begin(self, service: str, children: Sequence[tuple[ChildSpec, Driver]]) -> None:
        """Start to end the running children of these names, all at the same time."""
        self._tasks[service] = asyncio.create_task(self._end_all(children))

    def is_running(self, service: str) -> bool:
        """Whether a replica of a service's former model may still run."""
        return service in self._tasks and not self._tasks[service].done()

    async def finish(self) -> None:
        """Wait for the present attempts, and make no further ones."""
        self._is_over = True
        await asyncio.gather(*self._tasks.values())

    async def _end_all(self, children: Sequence[tuple[ChildSpec, Driver]]) -> None:
        await asyncio.gather(*(self._end(spec, driver) for spec, driver in children))
        self._changed()

    async def _end(self, spec: ChildSpec, driver: Driver) -> None:
        while not self._is_over:
            try:
                await driver.clear(spec)
            except OSError as error:
                log.warning("the former %s cannot be ended: %s", spec.name, error)
                await asyncio.sleep(_RETRY_S)
            else:
                return
