"""A gateway that is started again whenever it dies, on a socket that stays open meanwhile.

That is what the first process of a gateway's container does: a container cannot be handed a socket, and its port is
closed from its death to its restart. Clients that connect while no gateway runs wait for the next one.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from embedfleet.http.server import BACKLOG, bind

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 5.0
_STABLE_S = 10.0  # one that lived so long is started again at once
_CANNOT_WORK = 2  # exit code of one that is told something wrong: the next would be as well


class Respawner:
    """See the module.

    Args:
        host: address to listen on.
        port: port to listen on; 0 for any free one.
        arguments: of the gateway.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(self, host: str, port: int, arguments: Sequence[str]) -> None:
        self._listener = bind(host, port)
        self._listener.listen(BACKLOG)
        descriptor = str(self._listener.fileno())
        self._command = [sys.executable, "-P", "-m", "embedfleet", "gateway", *arguments, "--listen-fd", descriptor]
        self._command += ["--parent-pid", str(os.getpid())]

    async def run(self) -> int:
        """Keep a gateway running until SIGTERM or SIGINT, which it is told; returns the last one's exit code."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        wait_s = 0.0
        while True:
            began = time.monotonic()
            code = await self._live(stop)
            if stop.is_set() or code == _CANNOT_WORK:
                return code
            wait_s = next_wait_s(wait_s, time.monotonic() - began)
            log.warning("the gateway ended with %d and is started again in %g s", code, wait_s)
            if await _is_set_within(stop, wait_s):
                return 0

    async def _live(self, stop: asyncio.Event) -> int:
        """One gateway's life, which ends at its own time or when we stop; returns its exit code."""
        gateway = await asyncio.create_subprocess_exec(*self._command, pass_fds=(self._listener.fileno(),))
        ended = asyncio.create_task(gateway.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            self._listener.close()  # it accepts while it drains; nobody is to wait for one that will not come
            with suppress(ProcessLookupError):
                os.kill(gateway.pid, signal.SIGTERM)  # see `control.drivers.process`
        return await ended


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def next_wait_s(wait_s: float, lived_s: float) -> float:
    """How long to wait before the next start, in seconds: none after a long life, ever longer after short ones.

    Args:
        wait_s: the wait before the life that has ended.
        lived_s: that life, in seconds.
    """
    return 0.0 if lived_s >= _STABLE_S else min(_LONGEST_WAIT_S, max(0.1, 2 * wait_s))
