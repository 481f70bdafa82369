"""When the gateway runs out of open files, surplus clients get an error and no replica is blamed."""

import asyncio
import resource
import subprocess
from contextlib import asynccontextmanager
from http import HTTPStatus

import orjson
import pytest

from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from embedfleet.system.kernel_limits import client_connections, raise_open_files
from tests.services.gateway import run
from tests.services.kept import ASKS, BODY, Client
from tests.services.replica import FakeReplica
from tests.services.verb import Pipe, verb

ANSWER_S = 20
FLAGS = ("gateway", "--host", "127.0.0.1", "--calibrate", "false", "--probe-interval-s", "0.1")
GETS_METRICS = b"GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n"


class Gateway:
    def __init__(self, running, admin):
        self.port, self.pid, self.admin = running.port, running.process.pid, admin

    async def get(self, path):
        return await fetch(f"http://127.0.0.1:{self.port}{path}", timeout_s=ANSWER_S)

    async def embed(self):
        url = f"http://127.0.0.1:{self.port}/embed"
        return await fetch(url, method="POST", body=BODY, headers=[JSON], timeout_s=ANSWER_S)

    async def states(self):
        reply = await fetch(f"http+unix://{self.admin}:/replicas", timeout_s=ANSWER_S)
        return [row["state"] for row in orjson.loads(reply.body)]

    async def metric(self, name):
        lines = (await self.get("/metrics")).body.decode().splitlines()
        return [float(line.split()[-1]) for line in lines if line.startswith(name)]

    def allow(self, files):
        """Forbid new descriptors from this number on; open ones stay."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (files, hard))


@asynccontextmanager
async def gateway(folder, *flags, files, host="127.0.0.1", output=subprocess.DEVNULL):
    replicas = [await FakeReplica().start() for _ in range(2)]
    urls = [word for replica in replicas for word in ("--replica", f"http://{host}:{replica.server.port}")]
    admin = folder / "admin"
    with verb(*FLAGS, *urls, "--admin", str(admin), *flags, files=files, output=output) as running:
        made = Gateway(running, admin)
        async with asyncio.timeout(ANSWER_S):
            while await made.states() != ["active"] * 2:
                pass
        yield made
    for replica in replicas:
        await replica.kill()


def test_clients_beyond_the_open_files_get_503_and_all_else_goes_on(tmp_path):
    async def test():
        async with gateway(tmp_path, files=(256, 256)) as fleet:
            early = await Client.connect(fleet.port)
            idle = [await Client.connect(fleet.port) for _ in range(400)]
            statuses = [await early.ask() for _ in range(20)]
            assert statuses == [HTTPStatus.OK] * 20, "a client that was connected before is served"
            for client in idle[client_connections(256) :]:
                status, head = await client.answer()
                assert (status, b"\r\nretry-after: 1\r\n" in head) == (HTTPStatus.SERVICE_UNAVAILABLE, True)
            late = await Client.connect(fleet.port)
            assert (await late.answer())[0] == HTTPStatus.SERVICE_UNAVAILABLE
            late.writer.write(ASKS)
            assert await asyncio.wait_for(late.reader.read(), ANSWER_S) == b"", (
                "the client gets no reset, although it was still sending"
            )
            assert await fleet.states() == ["active"] * 2, "the admin socket has files of its own"
            for client in [*idle, late]:
                await client.close()
            async with asyncio.timeout(ANSWER_S):
                while (await fleet.get("/health")).status != HTTPStatus.OK:
                    pass
            assert (await fleet.embed()).status == HTTPStatus.OK
            assert await fleet.metric("embedfleet_replica_failures_total") == []
            await early.close()

    run(test)


def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path):
    raise_open_files()

    async def test():
        async with gateway(tmp_path, files=(1024, 4096)) as fleet:
            idle = [await Client.connect(fleet.port) for _ in range(1100)]
            assert [(await fleet.embed()).status for _ in range(8)] == [HTTPStatus.OK] * 8
            assert await fleet.states() == ["active"] * 2
            for client in idle:
                await client.close()

    run(test)


async def until_starved(observer, times):
    """Wait until the given number of connections has failed; return the number of active replicas."""
    async with asyncio.timeout(ANSWER_S):
        while True:
            await observer.ask(GETS_METRICS)
            lines = observer.body.decode().splitlines()
            if next(float(line.split()[-1]) for line in lines if line.startswith("embedfleet_starved_total")) >= times:
                return sum('state="active"' in line for line in lines)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_request_waits_for_a_file_and_no_replica_is_blamed(tmp_path, host):
    async def test():
        async with gateway(tmp_path, files=(1024, 1024), host=host) as fleet:
            client, observer = await Client.connect(fleet.port), await Client.connect(fleet.port)
            assert await observer.ask(GETS_METRICS) == await client.ask(GETS_METRICS) == HTTPStatus.OK
            fleet.allow(0)
            client.writer.write(ASKS)
            assert await until_starved(observer, 10) == 2, "both the request and probes tried to connect"
            fleet.allow(1024)
            assert (await client.answer())[0] == HTTPStatus.OK
            assert await fleet.states() == ["active"] * 2
            assert await fleet.metric("embedfleet_replica_failures_total") == []
            assert await fleet.metric('embedfleet_probes_total{replica="replica-0",outcome="bad"}') == []
            await client.close()
            await observer.close()

    run(test)


def test_a_request_without_a_file_for_long_is_refused_with_the_reason_which_is_logged_too(tmp_path):
    pipe = Pipe()

    async def test():
        async with gateway(tmp_path, "--no-replica-s", "0.2", files=(1024, 1024), output=pipe.theirs) as fleet:
            client = await Client.connect(fleet.port)
            assert await client.ask(GETS_METRICS) == HTTPStatus.OK
            fleet.allow(0)
            client.writer.write(ASKS)
            status, head = await client.answer()
            assert (status, b"\r\nretry-after: " in head) == (HTTPStatus.SERVICE_UNAVAILABLE, True)
            assert b"\r\nx-shed-reason: starved\r\n" in head
            assert "no files, memory or ports left" in orjson.loads(client.body)["error"]
            said = await asyncio.to_thread(pipe.read, b"no connection can be made")
            assert b"ulimit -n" in said
            assert b"ejected" not in said
            fleet.allow(1024)
            assert await client.ask() == HTTPStatus.OK
            await client.close()

    run(test)
    pipe.close()
