"""Whichever process of an nginx is killed, its port is free again and another nginx serves."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embedfleet.control.balancers.nginx import LocalNginx
from embedfleet.control.host.process_table import listens, processes
from embedfleet.control.host.programs import find_nginx
from embedfleet.control.plan.nginx_conf import render_main
from tests.e2e.fleet.test_remote import needs_nginx, serving
from tests.services.fleet import COMMAND, LIMIT_S, Fleet, free_ports, is_alive, run_cli

pytestmark = [pytest.mark.slow, needs_nginx]


def verb(running: Fleet) -> int:
    """Return the process id of the verb `nginx`, which `up` has started and which supervises nginx."""
    pid: int = running.status["services"][0]["gateway"]["pid"]
    return pid


def below(pid: int) -> list[int]:
    return [row.pid for row in processes() if row.parent == pid]


def until_restarted(running: Fleet, count: int) -> None:
    while True:
        gateway = running.status["services"][0]["gateway"]
        if (gateway["restarts"], gateway["phase"]) == (count, "ready"):
            return
        assert running.process.poll() is None


def test_whichever_process_of_nginx_is_killed_a_whole_new_nginx_serves(tmp_path):
    with serving(tmp_path, "nginx") as (running, _):
        port = running.embedder.port
        for count, whom in enumerate(("master", "verb", "both", "all but the workers stand still"), start=1):
            supervisor = verb(running)
            (master,) = below(supervisor)
            workers = below(master)
            assert workers
            assert listens(master, port)
            if whom == "all but the workers stand still":
                os.kill(master, signal.SIGSTOP)
            if whom != "master":
                os.kill(supervisor, signal.SIGKILL)
            if whom in {"master", "both"}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(master, signal.SIGKILL)
            until_restarted(running, count)
            assert not any(is_alive(pid) for pid in (supervisor, master, *workers))
            assert running.embedder.post("/embed", {"inputs": "a"}).status == 200
        (master,) = below(verb(running))
        left = [verb(running), master, *below(master)]
        down = run_cli(tmp_path, "down")
        assert (down.returncode, running.process.wait(LIMIT_S)) == (0, 0)
        assert not any(is_alive(pid) for pid in left)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_no_process_of_nginx_outlives_a_killed_up(tmp_path):
    with serving(tmp_path, "nginx") as (running, _):
        supervisor = verb(running)
        (master,) = below(supervisor)
        all_of_it = [supervisor, master, *below(master)]
        running.process.kill()
        running.process.wait(LIMIT_S)
        while any(is_alive(pid) for pid in all_of_it):
            os.sched_yield()


def test_down_lets_a_request_to_nginx_finish(tmp_path):
    with serving(tmp_path, "nginx") as (running, made):
        for replica in made:
            replica.mode = "hold"
        body = b'{"inputs":"a"}'
        with socket.create_connection(("127.0.0.1", running.embedder.port)) as client:
            head = f"POST /embed HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
            client.sendall(head.encode() + b"\r\n\r\n" + body)
            while not any(replica.held for replica in made):
                os.sched_yield()
            with subprocess.Popen([*COMMAND, "down"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as down:
                assert "stopping" in down.stderr.readline()
                while _is_open(running.embedder.port):
                    os.sched_yield()
                (replica,) = (each for each in made if each.held)
                held = replica.held.popleft()
                replica.server.loop.call_soon_threadsafe(replica.answer, held)
                assert client.recv(12) == b"HTTP/1.1 200"
                assert down.wait(LIMIT_S) == 0


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_another_listener_on_the_port_does_not_count_as_nginx(tmp_path):
    (port,) = free_ports(1)
    (tmp_path / "site").write_text(f"server {{ listen 127.0.0.1:{port}; }}")
    (tmp_path / "nginx.conf").write_text(render_main(str(tmp_path), str(tmp_path / "site")))
    ours, theirs = os.pipe()
    with socket.create_server(("127.0.0.1", port)):  # nginx gives up after some tries
        command = [sys.executable, "-m", "embedfleet", "nginx", "--folder", str(tmp_path), "--port", str(port)]
        result = subprocess.run(
            [*command, "--ready-fd", str(theirs)], pass_fds=(theirs,), capture_output=True, timeout=LIMIT_S, check=False
        )
    os.close(theirs)
    with os.fdopen(ours, "rb") as said:
        assert said.read() == b""
    assert result.returncode == 1
    assert b"Address already in use" in result.stderr


def test_a_stale_pid_of_nginx_gets_no_signal(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as other:
        Path(tmp_path / "nginx.pid").write_text(f"{other.pid}\n")
        LocalNginx(find_nginx(), tmp_path).reload()
        other.terminate()
        assert other.wait(LIMIT_S) == -signal.SIGTERM, "a SIGHUP would have come first"
