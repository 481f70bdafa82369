"""Children as processes of this machine, running our own command line.

Each child has a session of its own, so that a terminal's Ctrl-C reaches the supervisor alone, which then stops them in
order, and what is left of that session when the child has ended is ended too. Each is told our pid and has the kernel
kill it when we die (prctl PR_SET_PDEATHSIG), however we die.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from embedfleet.control.drivers.base import Found
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.host.activity import activity_of
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.host.process_table import end_session
from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec

log = logging.getLogger(__name__)


class Process:
    """A running child; see `base.Running`."""

    held = ""

    def __init__(self, process: asyncio.subprocess.Process, pipe: int) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.ready: asyncio.Future[str] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._process = process
        self._pipe = pipe
        self._said = b""
        loop.add_reader(pipe, self._hear)
        self._waiter = loop.create_task(self._wait())

    async def stop(self, grace_s: float) -> None:
        """See `base.Running`."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.shield(self.ended)
        except TimeoutError:
            self.kill()
            await asyncio.shield(self.ended)

    def kill(self) -> None:
        """See `base.Running`."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """Not by `Process.send_signal`: that looks whether it has ended, and takes its exit code from asyncio then."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def activity(self) -> Activity | None:
        """See `base.Running`."""
        return activity_of(self.pid)

    def kill_hung(self) -> None:
        """See `base.Running`: the whole session, for nginx's workers outlive their master."""
        if not self.ended.done():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """See `base.Running`: it would not outlive us."""
        self.kill()

    async def _wait(self) -> None:
        code = await self._process.wait()
        self._close_pipe()
        left = await asyncio.to_thread(end_session, self.pid)
        if left:
            log.warning("what process %d had started is ended with it: %s", self.pid, ", ".join(map(str, left)))
        self.ended.set_result(code)

    def _hear(self) -> None:
        """The child says once, in one line of JSON, which port it listens on."""
        data = os.read(self._pipe, 4096)
        self._said += data
        if b"\n" in self._said and not self.ready.done():
            self.ready.set_result(f"http://127.0.0.1:{json.loads(self._said)['port']}")
        if not data:
            self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1


class ProcessDriver:
    """Starts children of ``command``.

    Args:
        log_files: where their stderr goes.
        folder: their working directory.
        command: what runs a verb; ours by default, and never a module of the working directory.
        environment: of this process.
        listeners: sockets that are handed to gateways.
    """

    def __init__(
        self,
        log_files: LogFiles,
        folder: Path,
        environment: dict[str, str],
        listeners: Listeners,
        command: tuple[str, ...] | None = None,
    ) -> None:
        self._log_files = log_files
        self._listeners = listeners
        self._folder = folder
        self._environment = environment
        self._command = command or (sys.executable, "-P", "-m", "embedfleet")

    async def start(self, spec: ChildSpec, *, preferred_port: int) -> Process:
        """See `base.Driver`."""
        assert isinstance(spec, ProcessSpec)
        log = self._log_files.open(spec.name)
        try:
            theirs, ours = self._pipe()
        except OSError:
            os.close(log)
            raise
        listener = self._listeners.descriptor(spec.name)
        extra = ["--ready-fd", str(theirs), "--parent-pid", str(os.getpid())]
        if spec.kind == "replica" and preferred_port:
            extra += ["--preferred-port", str(preferred_port)]
        if spec.admin:
            extra += ["--admin", spec.admin]
        if listener is not None:
            extra += ["--listen-fd", str(listener)]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *spec.arguments,
                *extra,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                pass_fds=(theirs,) if listener is None else (theirs, listener),
                start_new_session=True,
            )
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            os.close(log)
        return Process(process, ours)

    async def find(self, spec: ChildSpec) -> Found | None:  # noqa: ARG002 - a process never outlives its fleet
        """See `base.Driver`."""
        return None

    async def clear(self, spec: ChildSpec) -> None:
        """See `base.Driver`: a process never outlives its fleet."""

    def allow_new_model(self, service: str) -> None:
        """See `base.Driver`: what it computes is compared, no more."""

    @staticmethod
    def _pipe() -> tuple[int, int]:
        """A pipe's end for the child, and ours, which does not block."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        return theirs, ours
