"""A verb of the command line as a process, with a chosen output and limit of open files."""

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LIMIT_S = 60


class Pipe:
    """A pipe that a test may fill and read later."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.pipe()

    def fill(self) -> None:
        """Fill the pipe with lines up to the last byte."""
        os.set_blocking(self.theirs, False)
        for line in (b"x" * 1023 + b"\n", b"\n"):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self.theirs, line)
        os.set_blocking(self.theirs, True)

    def read(self, wanted: bytes) -> bytes:
        """Read up to a line that contains ``wanted``, or to the end."""
        said = b""
        while wanted not in said and (more := os.read(self.ours, 65_536)):
            said += more
        return said

    def close(self) -> None:
        """Close our end."""
        os.close(self.ours)


@dataclass
class Verb:
    """A running verb and its port."""

    process: subprocess.Popen[bytes]
    port: int

    async def end(self) -> int:
        """Send SIGTERM and wait for the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, LIMIT_S)


@contextmanager
def verb(
    *arguments: str,
    output: int = subprocess.DEVNULL,
    files: tuple[int, int] | None = None,
    closed: tuple[int, ...] = (),
) -> Iterator[Verb]:
    """Run `embedfleet ARGUMENTS` during the block, once it listens.

    Args:
        arguments: Name and flags of the verb.
        output: Descriptor for its stdout and stderr.
        files: Soft and hard limit of open files.
        closed: Descriptors that are closed at its start.
    """

    limits = f"ulimit -S -n {files[0]}; ulimit -H -n {files[1]}; " if files else ""
    closing = " ".join(f"{descriptor}>&-" for descriptor in closed)
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [
            *("sh", "-c", f'{limits}exec "$@" {closing}', "sh"),
            *(sys.executable, "-P", "-m", "embedfleet", *arguments, "--ready-fd", str(theirs)),
        ],
        stdout=output,
        stderr=output,
        pass_fds=(theirs,),
    )
    os.close(theirs)
    try:
        with os.fdopen(ours, "rb") as told:
            poll = select.poll()
            poll.register(told)
            assert poll.poll(LIMIT_S * 1000), "it did not listen in time"
            line = told.readline()
        assert line, f"it ended with exit code {process.wait(LIMIT_S)}"
        yield Verb(process, json.loads(line)["port"])
    finally:
        process.kill()
        process.wait(LIMIT_S)
