"""A fake replica in its own process, which dies and is restarted on the same port."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress


class Mortal:
    """A replica that can die, made by ``async with mortal(...)``.

    Args:
        flags: Flags of ``python -m bench.fake_tei`` except ports.
        back_s: Seconds from a death to the next start; None if `restart` is called instead.
        before: Command that starts the replica's command, such as ``taskset -c 1``.

    Attributes:
        port: Port, the same after each restart.
        deaths: Number of deaths so far.
        serving: Whether its process runs and listens.
        history: Changes of ``serving``: time (monotonic) and new value.
    """

    def __init__(self, flags: Sequence[str], *, back_s: float | None, before: Sequence[str] = ()) -> None:
        self.port = 0
        self.deaths = 0
        self.serving = False
        self.history: list[tuple[float, bool]] = []
        self._command = (*before, sys.executable, "-m", "bench.fake_tei", *flags)
        self._back_s = back_s
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            RuntimeError: The process ended at once.
        """
        command = (*self._command, "--ports", str(self.port))
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fake replica ended at once, exit code {await self._process.wait()}")
        (self.port,) = json.loads(line)["ports"]
        self._note(serving=True)
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def restart(self) -> None:
        """Start the process again after a death."""
        self._keeper = None
        await self.start()

    def kill(self) -> None:
        """Send SIGKILL."""
        assert self._process is not None
        self._process.kill()

    async def close(self) -> None:
        """End the process and start none again."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _note(self, *, serving: bool) -> None:
        self.serving = serving
        self.history.append((time.monotonic(), serving))

    async def _keep(self) -> None:
        while True:
            assert self._process is not None
            await self._process.wait()
            self._note(serving=False)
            self.deaths += 1
            if self._back_s is None:
                return
            await asyncio.sleep(self._back_s)
            await self.start()


@asynccontextmanager
async def mortal(*flags: str, back_s: float | None = None, before: Sequence[str] = ()) -> AsyncIterator[Mortal]:
    """Run a replica that answers; the arguments are those of `Mortal`."""
    replica = Mortal(flags, back_s=back_s, before=before)
    try:
        await replica.start()
        yield replica
    finally:
        await replica.close()
