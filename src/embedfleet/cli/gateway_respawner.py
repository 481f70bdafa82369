"""Restarts a gateway whenever it ends, and keeps its listening socket open meanwhile.

The first process of a gateway's container does this, because a container cannot inherit a socket. Without it, the port
would be closed while the gateway restarts. Clients that connect while no gateway runs wait for the next one.
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
_STABLE_S = 10.0  # a gateway that has lived this long is restarted at once
_CANNOT_WORK = 2  # exit code for an invalid configuration, which a restart would not change


class Respawner:
    """Keeps one gateway running as a child process.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        arguments: Arguments of the gateway.

    Raises:
        OSError: The address cannot be bound.
    """

    def __init__(self, host: str, port: int, arguments: Sequence[str]) -> None:
        self._listener = bind(host, port)
        self._listener.listen(BACKLOG)
        descriptor = str(self._listener.fileno())
        self._command = [sys.executable, "-P", "-m", "embedfleet", "gateway", *arguments, "--listen-fd", descriptor]
        self._command += ["--parent-pid", str(os.getpid())]

    async def run(self) -> int:
        """Keep a gateway running until SIGTERM or SIGINT, or until its configuration is invalid.

        Returns:
            Exit code of the last gateway; 0 if a signal came while none ran.
        """
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
        """Run one gateway until it ends, by itself or because of ``stop``; return its exit code."""
        gateway = await asyncio.create_subprocess_exec(*self._command, pass_fds=(self._listener.fileno(),))
        ended = asyncio.create_task(gateway.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            self._listener.close()  # the gateway accepts while it drains; later clients are refused
            with suppress(ProcessLookupError):
                os.kill(gateway.pid, signal.SIGTERM)  # `send_signal` would take the exit code from asyncio
        return await ended


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def next_wait_s(wait_s: float, lived_s: float) -> float:
    """Return the wait before the next start, in seconds: 0 after a long life, and longer after each short one.

    Args:
        wait_s: Wait before the life that has ended, in seconds.
        lived_s: Length of that life, in seconds.
    """
    return 0.0 if lived_s >= _STABLE_S else min(_LONGEST_WAIT_S, max(0.1, 2 * wait_s))
