"""Compiles the gateways' code in the background, and moves the gateways to it.

The compiler is a process of its own (scripts/compiled_code.py), which ends with the fleet. It reports in lines of JSON.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from embedfleet.control.drivers.code_path import CodePath
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.host.process_table import end_session
from embedfleet.control.status import CodeStatus
from embedfleet.errors import FleetError, UsageError
from embedfleet.own_code import is_compiled

log = logging.getLogger(__name__)

_LOG = "compile"
_JOB = "scripts/compiled_code.py"
_END_S = 5.0  # longest wait until the compiler has ended and tidied up
_UNDER_WAY = "it started before the compiler was done; `embedfleet status` shows the result"  # said by a gateway


class Compilation:
    """The compiling of a fleet's gateways.

    Args:
        installation: Folder of run.sh; None if it did not install this.
        code: Code that the next processes import, which changes when the compiler is done.
        log_files: Logs, one of which takes what the compiler says.
        move: Function that replaces the gateways.

    Attributes:
        status: What the gateways that start now run, and why.
    """

    def __init__(
        self, installation: Path | None, code: CodePath, log_files: LogFiles, move: Callable[[], Awaitable[object]]
    ) -> None:
        self._root = installation if installation is not None and (installation / _JOB).is_file() else None
        self._code = code
        self._log_files = log_files
        self._move = move
        self._task: asyncio.Task[None] | None = None
        self.status = CodeStatus("compiled" if is_compiled() else "interpreted", code.reason)
        if code.reason:
            self._note_interpreted(code.reason, 'set compile = "auto"')
        elif self._root is None and not is_compiled():
            self._note_interpreted(
                "this was not installed by run.sh, and not as a compiled wheel",
                "install the wheel of a release that is made for this Python, or start ./run.sh in a clone",
            )
        elif code.compiled is None:
            self._note_begin()

    def begin(self) -> None:
        """Compile in the background, unless that is done, under way, or not wanted."""
        if self._root is None or not self._code.may_be_compiled or self._code.compiled is not None:
            return
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._compile(self._root))

    async def check(self) -> None:
        """Find out whether the compiled code fits the present source, before gateways are started anew."""
        if self._root is None or not self._code.may_be_compiled or (self._task is not None and not self._task.done()):
            return
        await self._run(self._root, "find")

    async def stop(self) -> None:
        """End the compiler, which leaves nothing half-made."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _compile(self, root: Path) -> None:
        self._note_begin()
        try:
            await self._run(root, "background")
            if self._code.compiled is not None:
                await self._move()
                log.info("every gateway that is a process runs compiled")
        except (FleetError, UsageError) as error:
            self._note_interpreted(f"the gateways could not be replaced: {error.message}", "`embedfleet reload`")
            log.warning("%s (%s)", self.status.reason, self.status.hint)
        except OSError as error:
            self._note_interpreted(f"the compiler cannot be started: {error}", "start ./run.sh again")
            log.warning("%s (%s)", self.status.reason, self.status.hint)

    async def _run(self, root: Path, step: str) -> None:
        """Run a step of scripts/compiled_code.py, and take note of what it reports."""
        environment = self._code.plain()
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), environment.get("PYTHONPATH"))))
        said = self._log_files.open(_LOG)
        command = [sys.executable, "-P", "-m", "scripts.compiled_code", step, "--parent", str(os.getpid())]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=root,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
        finally:
            os.close(said)
        try:
            await self._listen(process)
        except asyncio.CancelledError:
            await _end(process)
            raise

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        has_result = False
        async for line in process.stdout:
            with suppress(ValueError):
                has_result = self._note(json.loads(line)) or has_result
        code = await process.wait()
        if not has_result:
            await asyncio.to_thread(end_session, process.pid)
            self._note_interpreted(f"the compiler ended with code {code}", "see `embedfleet logs compile`")
            log.warning("gateways stay interpreted: %s (%s)", self.status.reason, self.status.hint)

    def _note(self, report: dict[str, str]) -> bool:
        """Take note of a report; return whether it is a result."""
        match report["state"]:
            case "compiling":
                log.info("compiling the gateway in the background; %s", self._log_files.path(_LOG))
                return False
            case "compiled":
                self._code.compiled, self._code.reason = Path(report["folder"]), ""
                self.status = CodeStatus("compiled")
            case _:
                self._note_interpreted(report["reason"], report["hint"])
                level = logging.WARNING if report["is_news"] else logging.INFO
                log.log(level, "gateways stay interpreted: %s (%s)", report["reason"], report["hint"])
        return True

    def _note_interpreted(self, reason: str, hint: str) -> None:
        self._code.compiled, self._code.reason = None, reason
        self.status = CodeStatus("interpreted", reason, hint)

    def _note_begin(self) -> None:
        self._code.compiled, self._code.reason = None, _UNDER_WAY
        self.status = CodeStatus("compiling", "they are being compiled in the background")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the compiler, and what it leaves after some seconds."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_S):
            await asyncio.shield(asyncio.ensure_future(process.wait()))
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(end_session, process.pid)
