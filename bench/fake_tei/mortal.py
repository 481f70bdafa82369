"""A replica as a process of its own that really dies, and is started again on its port after some seconds."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress


class Mortal:
    """One replica; from ``async with mortal(...)``.

    Args:
        flags: of ``python -m bench.fake_tei``, but for ports.
        back_s: seconds from a death to the next start; None to leave that to `restart`.
        before: a command that starts another, such as ``taskset -c 1``.

    Attributes:
        port: the same in every life.
        deaths: so far.
        serving: whether its process runs and listens.
        history: when that changed (monotonic), and what it was from then on.
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
        """Once it returns, the replica answers.

        Raises:
            RuntimeError: the process ended at once.
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
        """The next life, after a death; see `start`."""
        self._keeper = None
        await self.start()

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()

    async def close(self) -> None:
        """The end of all lives."""
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
    """A replica that answers, with `Mortal`'s arguments."""
    replica = Mortal(flags, back_s=back_s, before=before)
    try:
        await replica.start()
        yield replica
    finally:
        await replica.close()
