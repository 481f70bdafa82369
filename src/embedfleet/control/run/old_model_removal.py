"""Ending what serves another model than its service is to have, before the first replica of that is started."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from embedfleet.control.drivers.base import Driver
from embedfleet.control.plan.specs import ChildSpec

log = logging.getLogger(__name__)

_RETRY_S = 1.0


class OldModelRemoval:
    """See the module.

    Args:
        changed: called when a service has been cleared.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over = False

    def begin(self, service: str, children: Sequence[tuple[ChildSpec, Driver]]) -> None:
        """End what was found in the place of these children of a service, all at the same time."""
        self._tasks[service] = asyncio.create_task(self._clear(children))

    def holds(self, service: str) -> bool:
        """Whether something of another model may be there still."""
        return service in self._tasks and not self._tasks[service].done()

    async def finish(self) -> None:
        """Wait for what is under way, and try nothing again."""
        self._over = True
        await asyncio.gather(*self._tasks.values())

    async def _clear(self, children: Sequence[tuple[ChildSpec, Driver]]) -> None:
        await asyncio.gather(*(self._clear_one(spec, driver) for spec, driver in children))
        self._changed()

    async def _clear_one(self, spec: ChildSpec, driver: Driver) -> None:
        while not self._over:
            try:
                await driver.clear(spec)
            except OSError as error:
                log.warning("what ran as %s cannot be ended: %s", spec.name, error)
                await asyncio.sleep(_RETRY_S)
            else:
                return
