"""`drain` and `undrain` on a fleet that is only an admin socket."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON, TEXT
from embedfleet.http.server import Server
from tests.services.fleet import run_cli


class Socket:
    """A fleet's admin socket; each status takes the next of `states` for `s-0`, and the last one stays."""

    def __init__(self, *states: dict[str, Any], refusal: dict[str, str] | None = None, old: bool = False) -> None:
        self.states = list(states)
        self.refusal = refusal
        self.old = old
        self.orders: list[str] = []

    def handle(self, exchange: Exchange) -> None:
        if exchange.method == b"POST":
            self.orders.append(exchange.target.decode())
            if self.old:
                exchange.respond(404, [TEXT], b"there are GET /status and POST /stop")
            elif self.refusal:
                exchange.respond(409, [JSON], orjson.dumps(self.refusal))
            else:
                exchange.respond(200, [JSON], b"{}")
            return
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        replicas = [{"id": "s-0", "reason": "", **state}]
        service = {"name": "s", "port": 1, "gateway": {"id": "s-gateway"}, "replicas": replicas}
        exchange.respond(200, [JSON], orjson.dumps({"pid": 1, "pss_bytes": 0, "services": [service]}))


@contextmanager
def listening(folder: Path, socket: Socket) -> Iterator[Socket]:
    """Serve the socket in a thread, with the fleet's lock held and its address published."""
    loop = asyncio.new_event_loop()
    server = Server(socket.handle)
    state = FleetLock(folder / ".embedfleet")
    state.acquire()
    loop.run_until_complete(server.start(path=state.socket))
    state.write()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield socket
    finally:
        state.release()
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_drain_waits_until_nothing_is_left_and_says_what_there_is(tmp_path):
    looks = [{"state": "draining", "requests": 3}] * 2 + [{"state": "draining", "requests": 1}]
    with listening(tmp_path, Socket(*looks, {"state": "drained", "requests": 0})) as socket:
        result = run_cli(tmp_path, "drain", "s-0")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "s-0 gets no new requests",
        "s-0 is draining, 3 under way",
        "s-0 is draining, 1 under way",
        "s-0 is drained",
    ]
    assert socket.orders == ["/replicas/s-0/drain"]


def test_behind_nginx_it_is_said_that_nobody_counts(tmp_path):
    with listening(tmp_path, Socket({"state": "drained"})) as socket:
        result = run_cli(tmp_path, "drain", "s-0", "--force")
    assert (result.returncode, socket.orders) == (0, ["/replicas/s-0/drain?force"])
    assert "nginx does not list it any more" in result.stderr


def test_what_takes_too_long_is_an_error_and_the_order_stands(tmp_path):
    with listening(tmp_path, Socket({"state": "draining", "requests": 2})):
        result = run_cli(tmp_path, "drain", "s-0", "--timeout", "0")
    assert (result.returncode, result.stdout) == (1, "")
    assert "error: after 0 s s-0 is draining, 2 under way" in result.stderr
    assert "the order remains in effect" in result.stderr


def test_undrain_waits_until_it_serves(tmp_path):
    looks = [{"state": "drained"}, {"state": "joining", "reason": "no answer"}, {"state": "active"}]
    with listening(tmp_path, Socket(*looks)) as socket:
        result = run_cli(tmp_path, "undrain", "s-0")
    assert (result.returncode, socket.orders) == (0, ["/replicas/s-0/undrain"])
    assert "s-0 is joining: no answer\ns-0 is active\n" in result.stderr


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_what_is_refused_is_an_error_and_a_hint(tmp_path, verb):
    refusal = {"error": "there is no replica a b", "hint": "there are: s-0"}
    with listening(tmp_path, Socket({"state": "active"}, refusal=refusal)) as socket:
        result = run_cli(tmp_path, verb, "a b")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: there is no replica a b\n\nhint: there are: s-0\n"
    assert socket.orders == [f"/replicas/a%20b/{verb}"]


def test_a_fleet_that_does_not_know_the_order_is_told_apart_from_none(tmp_path):
    with listening(tmp_path, Socket({"state": "active"}, old=True)):
        result = run_cli(tmp_path, "drain", "s-0")
    assert (result.returncode, "does not know POST /replicas/s-0/drain" in result.stderr) == (1, True)


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_without_a_fleet_there_is_nobody_to_tell(tmp_path, verb):
    result = run_cli(tmp_path, verb, "s-0")
    assert (result.returncode, result.stdout) == (3, "")
    assert "no fleet runs in" in result.stderr
