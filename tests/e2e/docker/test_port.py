"""A container's port stays open when the gateway process in it dies.

``pytest -s`` prints what clients saw under load.
"""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

from bench.port import Clients, part
from tests.e2e.docker.test_life import ONE
from tests.e2e.docker.test_told import GATEWAY
from tests.e2e.fleet.test_port import RAW, answer
from tests.services.docker.site import QUESTION, Site
from tests.services.fleet import LIMIT_S


def worker(site: Site) -> int:
    """Return the process id of the serving process, a child of the first process."""
    first = site.client.containers.get(GATEWAY).attrs["State"]["Pid"]
    (found,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return int(found)


def test_a_client_that_has_connected_is_served_by_the_next_gateway_and_the_container_stays(site: Site):
    site.up(*ONE)
    before = site.client.containers.get(GATEWAY).attrs["State"]["StartedAt"]
    pid = worker(site)
    os.kill(pid, signal.SIGSTOP)  # so that it accepts no connection
    with socket.create_connection(("127.0.0.1", site.embedder.port), LIMIT_S) as client:
        client.sendall(RAW)
        os.kill(pid, signal.SIGKILL)
        assert answer(client).startswith(b"HTTP/1.1 200 ")
    assert site.client.containers.get(GATEWAY).attrs["State"]["StartedAt"] == before
    assert worker(site) != pid
    assert site.embedder.post("/embed", QUESTION).status == 200


def test_under_load_only_requests_under_way_are_lost(site: Site):
    site.up(*ONE)

    async def kill(clients: Clients, _number: int) -> None:
        await clients.kill(await asyncio.to_thread(worker, site))

    seen = asyncio.run(part(site.embedder.port, 100.0, 2, 3.0, kill)).result()
    print(json.dumps(seen))
    assert (seen["refused"], seen["failed"], seen["blows"]) == (0, 0, 2)
    assert seen["lost"] <= seen["on_the_way"]
    assert seen["answered"] > seen["lost"]


def test_a_container_whose_first_process_is_killed_is_started_again(site: Site):
    site.up(*ONE)

    async def kill(clients: Clients, _number: int) -> None:
        state = await asyncio.to_thread(lambda: site.client.containers.get(GATEWAY).attrs["State"])
        await clients.kill(state["Pid"])

    seen = asyncio.run(part(site.embedder.port, 100.0, 1, 5.0, kill)).result()
    print(json.dumps(seen))
    assert seen["failed"] == 0
    assert site.embedder.post("/embed", QUESTION).status == 200
