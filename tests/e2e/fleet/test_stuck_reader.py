"""A fleet keeps running, restarts children and stops on request although the reader of its output has stopped."""

import asyncio
import os
import signal
import subprocess

import pytest

from tests.services.fleet import COMMAND, LIMIT_S, Fleet, free_ports
from tests.services.gateway import run
from tests.services.replica import FakeReplica
from tests.services.verb import Pipe

PLAN = """
[services.embedder]
port = {port}
replicas = ["{url}"]
[services.reranker]
enabled = false
"""


def start(folder, output):
    return subprocess.Popen([*COMMAND, "up"], cwd=folder, stdout=output, stderr=output)


def until_up(fleet):
    while not fleet.status.get("ready"):
        assert fleet.process.poll() is None, "the fleet ended"


def until_restarted(fleet, pid):
    while True:
        gateway = fleet.status["services"][0]["gateway"]
        if gateway["pid"] not in {0, None, pid} and fleet.replicas("embedder")[0]["state"] == "active":
            return


@pytest.mark.slow
def test_a_fleet_keeps_running_when_its_output_is_not_read(tmp_path):
    pipe = Pipe()
    pipe.fill()

    async def test():
        replica = await FakeReplica().start()
        (port,) = free_ports(1)
        (tmp_path / "fleet.toml").write_text(PLAN.format(port=port, url=replica.url))
        process = start(tmp_path, pipe.theirs)
        try:
            fleet = Fleet(tmp_path, [port, port], process)
            async with asyncio.timeout(LIMIT_S):
                await asyncio.to_thread(until_up, fleet)
                pid = fleet.status["services"][0]["gateway"]["pid"]
                os.kill(pid, signal.SIGKILL)  # the fleet logs this
                await asyncio.to_thread(until_restarted, fleet, pid)
                assert (await asyncio.to_thread(fleet.embedder.post, "/embed", {"inputs": "a"})).status == 200
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait) == 0
        finally:
            process.kill()
            process.wait()
            await replica.kill()

    run(test)
    pipe.close()
    os.close(pipe.theirs)
