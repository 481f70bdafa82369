"""What every fleet must bear without a client noticing, whatever runs its replicas."""

import contextlib
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from tests.services.engine import Client

LIMIT_S = 120
WORDS = ("river", "stone", "cloud", "ember", "harbour", "meadow", "lantern", "orchard", "winter", "thread")
TEXTS = [f"{WORDS[n % 10]} {WORDS[n // 10]} {n}" for n in range(100)]
BATCH = TEXTS[::-1] * 2  # more than a replica takes at once


class Bearer(Protocol):
    """A fleet of two embedders and a way to do them harm."""

    client: Client

    def kill(self) -> None:
        """The first replica dies."""

    def stop(self) -> None:
        """The first replica stands still."""

    def go_on(self) -> None:
        """It goes on."""

    def until_whole(self, restarts: int) -> None:
        """Wait until both serve, after so many restarts."""


@dataclass
class Asking:
    """What clients saw.

    Attributes:
        asked: requests that were answered.
        wrong: what was not answered as it should have been.
    """

    expected: dict[str, list[float]]
    asked: int = 0
    wrong: list[str] = field(default_factory=list)

    def look(self, texts: list[str], status: int, answer: Callable[[], list[list[float]]]) -> None:
        """At one answer."""
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
    """Four clients that ask for one text and one that asks for many, over and over, while the body runs."""
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
    assert seen.wrong == []
    assert seen.asked > 10


def bears_a_replica_that_stands_still(fleet: Bearer) -> None:
    with asking(fleet.client) as seen:
        before = seen.asked
        fleet.stop()
        while seen.asked < before + 40:  # the other one answers them all
            assert not seen.wrong
        fleet.go_on()
        fleet.until_whole(restarts=0)
    assert seen.wrong == []
