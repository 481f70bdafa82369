"""A step of the benchmark as a process of its own, which ends at its time limit."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from bench.gpu.table import Outcome

_STOP_S = 10.0


def run_step(command: Sequence[str], limit_s: float, stop_s: float = _STOP_S) -> Outcome:
    """Run a Python module that prints rows as lines of JSON.

    Args:
        command: Name of the module and its arguments.
        limit_s: Time after which it is ended, with all processes that it started.
        stop_s: Part of this time that is left for its processes to end.

    Returns:
        The rows that it printed, and the error with which it ended.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        assert process.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        rows, is_late = _rows(lines, began + max(0.0, limit_s - stop_s))
        _end(process, stop_s if is_late else limit_s)
        reader.join(stop_s)
        process.stdout.close()
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    error = ""
    if is_late:
        error = f"ended after its {limit_s:.0f} s; --seconds gives all steps more"
    elif process.returncode:
        error = said[-1][:300] if said else f"exit code {process.returncode}"
    return Outcome(rows, error, time.monotonic() - began)


def _read(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _rows(lines: "queue.Queue[str | None]", deadline: float) -> tuple[list[dict[str, Any]], bool]:
    """The rows until the process ends, and whether it was too late to wait for that."""
    rows: list[dict[str, Any]] = []
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return rows, True
        if line is None:
            return rows, False
        rows.append(json.loads(line))


def _end(process: "subprocess.Popen[str]", wait_s: float) -> None:
    """End a process and all that it started."""
    group = process.pid
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(wait_s)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    process.wait()
