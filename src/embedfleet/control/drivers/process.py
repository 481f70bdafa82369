"""Driver of processes on this machine, which run embedfleet's own command line.

Each child has a session of its own. So a terminal's Ctrl-C reaches the supervisor alone, which stops the children in
order. When a child has ended, the rest of its session is killed. Each child gets the supervisor's pid, and has
itself killed by the kernel when the supervisor dies for any reason (prctl PR_SET_PDEATHSIG).
"""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from typing_extensions import override

from embedfleet.control.drivers.base import Driver, Found, Running
from embedfleet.control.drivers.code_path import CodePath
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.host.activity import activity_of
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.host.process_table import end_session
from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec

log = logging.getLogger(__name__)


class Process(Running):
    """A run of a child that is a process on this machine.

    Args:
        process: Process of asyncio.
        pipe: Descriptor of the pipe on which it reports its port.
    """

    def __init__(self, process: asyncio.subprocess.Process, pipe: int) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.pause_reason = ""
        self.ready: asyncio.Future[str] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._process = process
        self._pipe = pipe
        self._said = b""
        self._waiter: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Start to wait for its port and its end."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pipe, self._read_port)
        self._waiter = loop.create_task(self._wait())

    @override
    async def stop(self, grace_s: float) -> None:
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.shield(self.ended)
        except TimeoutError:
            self.kill()
            await asyncio.shield(self.ended)

    @override
    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """Send a signal; `Process.send_signal` would poll the process and so take its exit code from asyncio."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @override
    def activity(self) -> Activity | None:
        return activity_of(self.pid)

    @override
    def kill_hung(self) -> None:
        """Kill the whole session, because nginx's workers outlive their master."""
        if not self.ended.done():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    @override
    def abandon(self) -> None:
        """End it, because a process must not outlive the fleet."""
        self.kill()

    async def _wait(self) -> None:
        code = await self._process.wait()
        self._close_pipe()
        left = await asyncio.to_thread(end_session, self.pid)
        if left:
            log.warning("killed the processes that process %d had left: %s", self.pid, ", ".join(map(str, left)))
        self.ended.set_result(code)

    def _read_port(self) -> None:
        """Read the port where the child listens, which it reports once as a line of JSON."""
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


class ProcessDriver(Driver):
    """Driver of processes.

    Args:
        log_files: Log files for the children's output.
        folder: Working directory of the children.
        code: Code that the children import, and their environment.
        listeners: Sockets that gateways inherit.
        command: Command that runs a verb; None for embedfleet's own, which imports nothing from the working directory.
    """

    can_restart = True

    def __init__(
        self,
        log_files: LogFiles,
        folder: Path,
        code: CodePath,
        listeners: Listeners,
        command: tuple[str, ...] | None = None,
    ) -> None:
        self._log_files = log_files
        self._listeners = listeners
        self._folder = folder
        self._code = code
        self._command = command or (sys.executable, "-P", "-m", "embedfleet")

    @override
    async def start(self, spec: ChildSpec, *, preferred_port: int) -> Process:
        assert isinstance(spec, ProcessSpec)
        log = self._log_files.open(spec.name)
        try:
            theirs, ours = _pipe()
        except OSError:
            os.close(log)
            raise
        listener = self._listeners.descriptor(spec.name)
        extra = ["--ready-fd", str(theirs), "--parent-pid", str(os.getpid())]
        if spec.kind == "replica" and preferred_port:
            extra += ["--preferred-port", str(preferred_port)]
        if spec.admin:
            extra += ["--admin", spec.admin, "--interpreted-because", self._code.reason]
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
                env=self._code.environment(),
                pass_fds=(theirs,) if listener is None else (theirs, listener),
                start_new_session=True,
            )
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            os.close(log)
        started = Process(process, ours)
        started.watch()
        return started

    @override
    async def find(self, spec: ChildSpec) -> Found | None:
        """Find nothing, because a process never outlives its fleet."""
        return None

    @override
    async def clear(self, spec: ChildSpec) -> None:
        """Do nothing, because nothing is ever found."""

    @override
    def allow_new_model(self, service: str) -> None:
        """Do nothing: the answers of a process show its model, and the balancer compares them."""


def _pipe() -> tuple[int, int]:
    """Make a pipe; return the child's end, and our end, which does not block."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    return theirs, ours
