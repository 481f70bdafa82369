"""Clients that send requests to a service without a pause, while a test acts on it."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection

import orjson

from tests.services.fleet import LIMIT_S

CLIENTS = 8
JSON = {"content-type": "application/json"}


def ask(client: HTTPConnection, text: str = "text") -> int:
    """Ask for one vector, and return the status of the answer."""
    client.request("POST", "/embed", orjson.dumps({"inputs": text}), JSON)
    response = client.getresponse()
    response.read()
    return response.status


@contextmanager
def traffic(
    port: int, *, keeping: int = CLIENTS // 2, failures: tuple[type[Exception], ...] = ()
) -> Iterator[Callable[[int], Counter[str]]]:
    """Run clients during the block.

    Args:
        port: Port of the service.
        keeping: Number of clients that keep their connection; the others open one for each request.
        failures: Exceptions that count as answers; any other fails the test.

    Returns:
        A function that waits for a number of further answers, and returns the count of each status and failure so far.
    """
    seen: Counter[str] = Counter()
    answered, over, numbers = threading.Semaphore(0), threading.Event(), itertools.count()

    def ask_on(keeps: bool) -> None:
        client = HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
        while not over.is_set():
            try:
                seen[str(ask(client, f"text {next(numbers)}"))] += 1
            except failures as error:
                seen[type(error).__name__] += 1
                client.close()
            if not keeps:
                client.close()
            answered.release()
        client.close()

    def wait_for(count: int) -> Counter[str]:
        for _ in range(count):
            assert answered.acquire(timeout=LIMIT_S)
        return seen

    with ThreadPoolExecutor(CLIENTS) as pool:
        work = [pool.submit(ask_on, number < keeping) for number in range(CLIENTS)]
        try:
            yield wait_for
        finally:
            over.set()
        for item in work:
            item.result(LIMIT_S)
