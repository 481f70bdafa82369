"""A process that starts a child with the process driver, prints its pid and waits."""

import asyncio
import os
import sys
from pathlib import Path

from embedfleet.control.drivers.code_path import CodePath
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.drivers.process import ProcessDriver
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.plan.specs import ProcessSpec

COMMAND = (sys.executable, "-m", "tests.services.child")
ROOT = Path(__file__).parent.parent.parent


def make_driver(logs: Path) -> ProcessDriver:
    return ProcessDriver(LogFiles(logs), ROOT, CodePath(os.environ, None), Listeners({}), COMMAND)


def spec(mode: str) -> ProcessSpec:
    return ProcessSpec(mode, "service", "replica", (mode,))


async def main() -> None:
    running = await make_driver(Path(sys.argv[1])).start(spec("deaf"), preferred_port=0)
    await running.ready
    print(running.pid, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
