"""Faults that every fleet must hide from its clients, whatever runs its replicas."""

import asyncio
import contextlib
import itertools
import math
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson

from embedfleet.http.client import fetch
from tests.services.engine import Client

LIMIT_S = 120
WORDS = ("river", "stone", "cloud", "ember", "harbour", "meadow", "lantern", "orchard", "winter", "thread")
TEXTS = [f"{WORDS[n % 10]} {WORDS[n // 10]} {n}" for n in range(100)]
BATCH = TEXTS[::-1] * 2  # more than a replica accepts in one call
LYING = Path(__file__).parent / "lying"  # on PYTHONPATH it lets engines give wrong answers on request
LIES = ("nulls", "one too few", "one too many", "no json", "cut json", "cut body", "no http", "reset")
PAUSE_S = 0.02  # between the requests of a client: behind Docker's proxy each uses a port for a minute
STATUSES = ("424", "500", "502", "503", "504")


class Bearer(Protocol):
    """A fleet of two embedders whose first replica a test can harm."""

    client: Client

    def kill(self) -> None:
        """Kill the first replica."""

    def stop(self) -> None:
        """Stop the first replica by a signal or a pause."""

    def go_on(self) -> None:
        """Let the first replica go on."""

    def until_whole(self, restarts: int) -> None:
        """Wait until both replicas serve after that many restarts."""

    def run(self, *arguments: str) -> None:
        """Run a verb in the fleet's folder; it must succeed."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Status rows of the embedders."""

    @property
    def admin(self) -> str:
        """Path of the gateway's admin socket."""


@dataclass
class Asking:
    """The answers that clients got.

    Attributes:
        expected: Right vector by text.
        asked: Number of answered requests.
        wrong: Descriptions of wrong answers.
    """

    expected: dict[str, list[float]]
    asked: int = 0
    wrong: list[str] = field(default_factory=list)

    def look(self, texts: list[str], status: int, answer: Callable[[], list[list[float]]]) -> None:
        """Check one answer."""
        if status != 200:
            self.wrong.append(f"status {status}")
        elif len(vectors := answer()) != len(texts):
            self.wrong.append(f"{len(vectors)} vectors to {len(texts)} texts")
        else:
            pairs = zip(texts, vectors, strict=True)
            self.wrong += [text for text, vector in pairs if not _is_near(vector, self.expected[text])]
        self.asked += 1


def _is_near(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(one, other, strict=True))


@contextlib.contextmanager
def asking(client: Client) -> Iterator[Asking]:
    """Run clients during the block: four ask for one text at a time and one for many."""
    first = client.post("/embed", {"inputs": TEXTS})
    seen = Asking(dict(zip(TEXTS, first.json, strict=True)))
    over = threading.Event()
    numbers = itertools.count()

    def ask(texts: Callable[[], list[str]]) -> None:
        while not over.is_set():
            batch = texts()
            try:
                answer = client.post("/embed", {"inputs": batch})
            except OSError as error:
                seen.wrong.append(repr(error))
            else:
                seen.look(batch, answer.status, lambda answer=answer: answer.json)  # type: ignore[misc]
            over.wait(PAUSE_S)

    def one() -> list[str]:
        return [TEXTS[next(numbers) % len(TEXTS)]]

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(ask, one) for _ in range(4)] + [pool.submit(ask, lambda: BATCH)]
        try:
            yield seen
        finally:
            over.set()
        for item in work:
            item.result(LIMIT_S)


def bears_a_killed_replica(fleet: Bearer) -> None:
    with asking(fleet.client) as seen:
        fleet.kill()
        fleet.until_whole(restarts=1)
        until_asked(seen, 20)
    assert seen.wrong == []


def bears_that_each_replica_is_drained_in_turn(fleet: Bearer) -> None:
    with asking(fleet.client) as seen:
        for name in [row["id"] for row in tell(gateway_of(fleet))]:
            fleet.run("drain", name)
            sent = row_of(fleet, name)["sent"]
            until_asked(seen, 40)
            row = row_of(fleet, name)
            assert (row["state"], row["requests"], row["sent"]) == ("drained", 0, sent)
            fleet.run("undrain", name)
            until_both_are_active(fleet, seen)
    assert seen.wrong == []


def bears_changes_of_its_gateways_members(fleet: Bearer) -> None:
    """Control sets the members when replicas are added or removed."""
    members = [{"id": row["id"], "url": row["url"]} for row in tell(gateway_of(fleet))]
    with asking(fleet.client) as seen:
        for gone in members * 2:
            tell(gateway_of(fleet), [member for member in members if member is not gone], method="PUT")
            until_asked(seen, 20)
            while gone["id"] in {
                row["id"] for row in tell(gateway_of(fleet))
            }:  # until it has answered its open requests
                assert seen.wrong == []
            tell(gateway_of(fleet), members, method="PUT")
            until_both_are_active(fleet, seen)
    assert seen.wrong == []


def bears_a_replica_that_lies(fleet: Bearer) -> None:
    """Check a replica with wrong answers; this and the next two checks need engines with `LYING` on PYTHONPATH."""
    _bears(fleet, LIES)


def bears_a_replica_that_fails(fleet: Bearer) -> None:
    _bears(fleet, STATUSES)


def _bears(fleet: Bearer, modes: tuple[str, ...]) -> None:
    fault = f"{fleet.rows[0]['url']}/fault"
    with asking(fleet.client) as seen:
        for mode in modes:
            tell(fault, {"mode": mode})
            while mode not in tell(fault):  # until the fault has happened at least once
                assert seen.wrong == [], mode
            until_asked(seen, 20)
            tell(fault, {"mode": "none"})
            until_both_are_active(fleet, seen)
            assert seen.wrong == [], mode
    assert seen.wrong == []


def bears_a_replica_that_refuses_connections_for_a_while(fleet: Bearer) -> None:
    url = fleet.rows[0]["url"]
    with asking(fleet.client) as seen:
        tell(f"{url}/fault", {"mode": "refuse", "seconds": 3})
        while listens(url):
            assert seen.wrong == []
        until_asked(seen, 40)
        while not listens(url):
            assert seen.wrong == []
        until_both_are_active(fleet, seen)
    assert seen.wrong == []


def tell(url: str, value: object = None, method: str = "") -> Any:
    """Post a value, or send GET if there is none, and return the value of the answer."""
    method = method or ("GET" if value is None else "POST")
    body = b"" if value is None else orjson.dumps(value)
    reply = asyncio.run(fetch(url, method=method, body=body, timeout_s=LIMIT_S))
    assert reply.status == 200, reply
    return orjson.loads(reply.body)


def gateway_of(fleet: Bearer) -> str:
    return f"http+unix://{fleet.admin}:/replicas"


def until_both_are_active(fleet: Bearer, seen: Asking) -> None:
    while [row["state"] for row in tell(gateway_of(fleet))] != ["active", "active"]:
        assert seen.wrong == []


def listens(url: str) -> bool:
    """Whether a server accepts connections; a socket that has just been closed resets those in its queue."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or 80)).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        pass
    return True


def row_of(fleet: Bearer, name: str) -> dict[str, Any]:
    """The gateway's row of a replica."""
    (row,) = [row for row in tell(gateway_of(fleet)) if row["id"] == name]
    return row


def until_asked(seen: Asking, count: int) -> None:
    """Wait for a number of further answers."""
    before = seen.asked
    while seen.asked < before + count:
        assert not seen.wrong


def bears_a_replica_that_stands_still(fleet: Bearer) -> None:
    with asking(fleet.client) as seen:
        fleet.stop()
        until_asked(seen, 40)  # the other replica answers all requests
        fleet.go_on()
        fleet.until_whole(restarts=0)
    assert seen.wrong == []


OF_ANY = (
    bears_a_killed_replica,
    bears_a_replica_that_stands_still,
    bears_that_each_replica_is_drained_in_turn,
    bears_changes_of_its_gateways_members,
)
OF_LIARS = (
    bears_a_replica_that_lies,
    bears_a_replica_that_fails,
    bears_a_replica_that_refuses_connections_for_a_while,
)
