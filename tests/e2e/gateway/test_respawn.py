"""`embedfleet gateway --respawn`: the port stays open when the gateway dies."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedfleet.cli.gateway_respawner import next_wait_s
from tests.e2e.fleet.test_port import RAW, answer
from tests.e2e.fleet.test_remote import replicas
from tests.services.fleet import COMMAND, LIMIT_S, free_ports, is_alive

pytestmark = pytest.mark.slow


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), LIMIT_S)


def is_answered(port: int) -> bool:
    with connected(port) as client:
        client.sendall(RAW)
        return answer(client).startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def parent() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the parent process that respawns a gateway; provide the process and its port."""
    (port,) = free_ports(1)
    with replicas(1) as (replica,):
        arguments = ["gateway", "--respawn", "--replica", replica.url, "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            while f"port {port}" not in process.stderr.readline():
                assert process.poll() is None
            yield process, port
        finally:
            process.kill()
            process.communicate(timeout=LIMIT_S)


def test_a_client_of_a_dead_gateway_is_served_by_the_next(parent):
    process, port = parent
    for _ in range(3):
        assert is_answered(port)
        (gateway,) = children(process.pid)
        os.kill(gateway, signal.SIGSTOP)  # so that it accepts no client
        with connected(port) as client:
            client.sendall(RAW)
            os.kill(gateway, signal.SIGKILL)
            assert answer(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_the_gateway_and_its_parent(parent, number):
    process, port = parent
    (gateway,) = children(process.pid)
    process.send_signal(number)
    assert process.wait(LIMIT_S) == 0
    assert not is_alive(gateway)
    with pytest.raises(ConnectionRefusedError):
        connected(port)


def test_the_gateway_ends_if_its_parent_is_killed(parent):
    process, _ = parent
    (gateway,) = children(process.pid)
    process.kill()
    process.wait(LIMIT_S)
    while is_alive(gateway):
        pass


def test_an_invalid_replica_is_reported_once():
    done = subprocess.run(
        [*COMMAND, "gateway", "--respawn", "--replica", "nonsense"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("error: nonsense is not the URL of a replica") == 1


def test_a_port_in_use_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "gateway", "--respawn", "--host", "127.0.0.1", "--port", port],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    assert (done.returncode, f"127.0.0.1:{port}: address already in use" in done.stderr) == (2, True), done.stderr


def test_waits_grow_after_short_lives_only():
    waits = [0.0]
    for _ in range(20):
        waits.append(next_wait_s(waits[-1], 0.5))
    assert waits == sorted(waits)
    assert (waits[1], waits[-1]) == (0.1, 5.0)
    assert next_wait_s(5.0, 60.0) == 0.0
