"""``python -m bench.fuzz.hostile PORT``: clients that break off, do not read, never end, or send a few bytes at a time.

A JSON object on stdin gives the duration (``seconds``), the number of clients of each kind (names of `KINDS`),
``seed``, and the requests of clients that hardly read (``large``, as raw bytes). The clients are spread over the time
in random order, at most `_AT_ONCE` at once. The last line of stdout is one JSON object with the number of clients of
each kind.
"""

import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_AT_ONCE = 200
_LARGEST = 30_000_000
_SMALLEST = 10_000
_PIECE = b"x" * 262_144
_STAYS_S = 4.0
_POST = b"POST /embed HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_GOOD = b'{"inputs":"n=3|good|"}'


@dataclass(frozen=True)
class Target:
    """The server that the clients attack."""

    port: int
    chance: random.Random
    large: bytes  # complete requests with large replies

    async def connect(self, buffer: int = 0) -> "Socket":
        """Open a connection; ``buffer`` is the size of the kernel's receive buffer, 0 for the default."""
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return Socket(sock, self.chance)


class Socket:
    """A connection of a hostile client."""

    def __init__(self, sock: socket.socket, chance: random.Random) -> None:
        self._sock = sock
        self._chance = chance
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send all bytes."""
        await self._loop.sock_sendall(self._sock, data)

    async def read(self, most: int = 65_536) -> bytes:
        """Read some bytes; none at the end."""
        return await self._loop.sock_recv(self._sock, most)

    def leave(self) -> None:
        """Close by FIN or by reset, at random."""
        if self._chance.random() < 0.5:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


async def aborted(target: Target, wire: Socket) -> None:
    """Break off an upload after 10 kB to 30 MB."""
    size = int(_SMALLEST * (_LARGEST / _SMALLEST) ** target.chance.random())
    await wire.send(_POST + b"Content-Length: %d\r\n\r\n" % (size + 1000))
    for at in range(0, size, len(_PIECE)):
        await wire.send(_PIECE[: size - at])


async def slow(target: Target, wire: Socket) -> None:
    """Ask for several large replies at once and read little of them."""
    await wire.send(target.large * target.chance.choice([1, 4, 16]))
    for _ in range(target.chance.randint(10, int(10 * _STAYS_S))):
        await wire.read(1024)
        await asyncio.sleep(0.1)


async def trailers(target: Target, wire: Socket) -> None:
    """Send a trailer or a chunk extension that does not end."""
    await wire.send(_CHUNKED + b"1\r\n{\r\n" + target.chance.choice([b"0\r\nX: ", b"0\r\nX: y\r\nY", b"1;"]))
    for _ in range(64):
        await wire.send(_PIECE[:16_384])


async def tiny(target: Target, wire: Socket) -> None:
    """Send a body in chunks of two bytes or in segments of a few bytes."""
    if target.chance.random() < 0.5:
        await wire.send(_CHUNKED)
        for _ in range(target.chance.randint(1, 10)):
            await wire.send(b"2\r\nab\r\n" * 10_000)
    else:
        await wire.send(_POST + b"Content-Length: 100000\r\n\r\n")
        for _ in range(500):
            await wire.send(b"abc")


async def half(target: Target, wire: Socket) -> None:
    """Send part of a request, pause, and leave."""
    data = _POST + b"Content-Length: %d\r\n\r\n%b" % (len(_GOOD), _GOOD)
    await wire.send(data[: target.chance.randrange(len(data))])
    await asyncio.sleep(target.chance.uniform(0, _STAYS_S))


async def left(target: Target, wire: Socket) -> None:
    """Send complete requests, one with an upgrade, and leave without waiting for answers."""
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    data = _POST + upgrade + b"Content-Length: %d\r\n\r\n%b" % (len(_GOOD), _GOOD)
    await wire.send(data * target.chance.randint(1, 50))
    await asyncio.sleep(target.chance.choice([0, 0.005]))


KINDS: dict[str, Callable[[Target, Socket], Awaitable[None]]] = {
    "aborted": aborted,
    "slow": slow,
    "trailers": trailers,
    "tiny": tiny,
    "half": half,
    "left": left,
}


async def attack(target: Target, counts: dict[str, int], seconds: float) -> Counter[str]:
    """Run all clients, spread over the time; return the number of each kind, and as ``cut`` of broken connections."""
    order = [kind for kind, count in counts.items() for _ in range(count)]
    target.chance.shuffle(order)
    room = asyncio.Semaphore(_AT_ONCE)
    done: Counter[str] = Counter()

    async def one(kind: str) -> None:
        try:
            wire = await target.connect(4096 if kind == "slow" else 0)
            try:
                async with asyncio.timeout(2 * _STAYS_S):
                    await KINDS[kind](target, wire)
            finally:
                wire.leave()
        except (OSError, TimeoutError):  # refused or closed meanwhile, as expected
            done["cut"] += 1
        done[kind] += 1
        room.release()

    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number, kind in enumerate(order):
            await asyncio.sleep(max(0.0, begun + seconds * number / len(order) - time.monotonic()))
            await room.acquire()
            group.create_task(one(kind))
    return done


def main() -> None:
    """Run the command."""
    plan = json.load(sys.stdin)
    target = Target(int(sys.argv[1]), random.Random(plan["seed"]), plan["large"].encode())
    counts = {kind: plan[kind] for kind in KINDS}
    print(json.dumps(asyncio.run(attack(target, counts, plan["seconds"]))), flush=True)


if __name__ == "__main__":
    main()
