"""The process driver, with real processes that do little."""

import asyncio
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from embedfleet.control.drivers.code_path import CodePath
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.drivers.process import ProcessDriver
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.plan.specs import ProcessSpec
from embedfleet.testing import DriverPrograms, check_driver
from tests.services.parent import COMMAND, ROOT, make_driver, spec

LIMIT_S = 60


def test_it_keeps_the_promises_of_a_driver(tmp_path):
    programs = DriverPrograms(serves=spec("serves"), also_serves=spec("serves"), deaf=spec("deaf"), fails=spec("fails"))
    asyncio.run(check_driver(make_driver(tmp_path), programs))


def test_a_childs_output_is_in_its_log(tmp_path):
    async def run() -> None:
        running = await make_driver(tmp_path).start(spec("fails"), preferred_port=0)
        await running.ended

    asyncio.run(run())
    assert LogFiles(tmp_path).tail("fails", 5) == ["fails was started"]


def test_a_child_is_out_of_reach_of_the_terminals_ctrl_c(tmp_path):
    async def run() -> None:
        running = await make_driver(tmp_path).start(spec("serves"), preferred_port=0)
        await running.ready
        assert os.getsid(running.pid) == running.pid != os.getsid(0)
        await running.stop(LIMIT_S)

    asyncio.run(run())


def test_no_child_outlives_a_parent_that_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "tests.services.parent", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([child], [], [], LIMIT_S)[0], "the child lives on"
    finally:
        os.close(child)


def test_a_child_whose_parent_has_already_ended_ends_at_once(tmp_path):
    result = subprocess.run(
        [*COMMAND, "serves", "--parent-pid", str(os.getppid())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")


def test_a_program_that_is_not_there_is_an_error_and_leaves_nothing_open(tmp_path):
    driver = ProcessDriver(LogFiles(tmp_path), ROOT, CodePath({}, None), Listeners({}), ("/no/such/program",))
    before = set(Path("/proc/self/fd").iterdir())

    async def run() -> None:
        with pytest.raises(OSError, match="No such file"):
            await driver.start(spec("serves"), preferred_port=0)

    asyncio.run(run())
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_a_module_of_the_working_directory_is_not_taken_for_one_of_ours(tmp_path):
    (tmp_path / "logging.py").write_text("raise SystemExit('wrong module')")
    journal = LogFiles(tmp_path / "logs")
    driver = ProcessDriver(journal, tmp_path, CodePath(os.environ, None), Listeners({}))

    async def run() -> None:
        gateway = ProcessSpec("g", "s", "balancer", ("gateway", "--host", "127.0.0.1"))
        running = await driver.start(gateway, preferred_port=0)
        done, _ = await asyncio.wait(
            {running.ready, running.ended}, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT_S
        )
        assert running.ready in done, journal.tail("g", 9)
        await running.stop(LIMIT_S)

    asyncio.run(run())
