"""``python -m bench.bodies``: how long one client's body delays the other clients of a gateway.

A gateway parses a body and examines its texts without a pause, and meanwhile answers no other client. No replica serves
here, so the gateway does nothing else with a body. The delay is the processor time of its process, which includes
reading the body. The last line is one JSON object with the shortest delay of several rounds, in milliseconds, because
other work on the machine only lengthens it.
"""

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.measuring.memory import answers
from bench.measuring.process import free_port, pinned, take_core, wait_for_port

SIZES = {"2 MB": (1_900_000, 5), "32 MB": (31_900_000, 1)}  # bytes, and copies of a body in a round
TEXTS = 4_000  # below the default of max_request_texts
VALUES = 1_900_000  # below the gateway's limit of values outside of strings
_IDLE_S, _CALM = 0.05, 4


def of_texts(unit: bytes, size: int) -> bytes:
    """Return a body with many texts that repeat a unit."""
    text = unit * max(1, size // TEXTS // len(unit))
    return b'{"inputs":[' + b",".join([b'"' + text + b'"'] * TEXTS) + b"]}"


def of_ids(size: int) -> bytes:
    """Return a body with lists of token ids, as many ids as the size and the gateway's limit allow."""
    count = min(VALUES, size // 7) // TEXTS
    return b'{"inputs":[' + b",".join([b"[" + b",".join([b"101234"] * count) + b"]"] * TEXTS) + b"]}"


def of_numbers(size: int) -> bytes:
    """Return a body with one text and many numbers in a field that no route knows."""
    return b'{"inputs":"a","other":[' + b",".join([b"0.125"] * min(VALUES, size // 6)) + b"]}"


def of_lists(size: int) -> bytes:
    """Return a body that is refused for its number of lists."""
    return b'{"inputs":[' + b",".join([b"[]"] * (size // 3)) + b"]}"


BODIES: Mapping[str, Callable[[int], bytes]] = {
    "texts": lambda size: of_texts(b"a river bends around the town ", size),
    "texts of escaped quotes and brackets, such as code": lambda size: of_texts(rb"f(\"[a]\")\n", size),
    "texts without a visible character": lambda size: of_texts(rb" \n\t", size),
    "token ids": of_ids,
    "numbers in an unknown field": of_numbers,
    "refused for its number of lists": of_lists,
}


def run_s(pid: int) -> float:
    """Return the processor time of a process so far, in seconds (proc(5), ``stat``, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def delay_s(pid: int, port: int, body: bytes, copies: int) -> float:
    """Return the processor time that a gateway spends on a body, in seconds.

    Args:
        pid: Process of the gateway.
        port: Port of the gateway.
        body: Body of a request that no replica will answer.
        copies: Number of requests with that body, one after the other, since the kernel counts hundredths of a second.
    """
    head = b"POST /embed HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
        body
    )
    before = run_s(pid)
    for _ in range(copies):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(head + body)
            _wait_until_idle(pid, port)
    return (run_s(pid) - before) / copies


def _wait_until_idle(pid: int, port: int) -> None:
    """Wait until a gateway has answered another client several times and used no processor time in between."""
    spent, calm = -1.0, 0
    while calm < _CALM:
        answers(port, b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n")
        now = run_s(pid)
        calm = calm + 1 if now == spent else 0
        spent = now
        time.sleep(_IDLE_S)


def main() -> None:
    """Measure every body in every size and print the delays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    port, nobody = free_port(), free_port()
    take_core(1)
    command = [sys.executable, "-m", "embedfleet", "gateway", "--replica", f"http://127.0.0.1:{nobody}"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with pinned(0, [*command, "--port", str(port), "--host", "127.0.0.1"], log=log) as process:
            wait_for_port(port, process, log)
            found = {
                name: {
                    size: round(
                        1000 * min(delay_s(process.pid, port, make(count), copies) for _ in range(options.rounds)), 1
                    )
                    for size, (count, copies) in SIZES.items()
                }
                for name, make in BODIES.items()
            }
    for name, row in found.items():
        print(f"{name:55}" + "".join(f"{size:>8}: {delay:7.1f} ms" for size, delay in row.items()), file=sys.stderr)
    print(json.dumps({"delay_ms": found}))


if __name__ == "__main__":
    main()
