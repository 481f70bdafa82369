"""A checksum of large files that is fast to compute, to detect that a file has changed."""

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from mmap import mmap

_BLOCK = 1 << 22  # bytes; summed while they are in the processor's cache
_MOST_THREADS = 4


def checksum(descriptor: int, size: int) -> str:
    """Checksum of an open file's first bytes: SHA-256 of the CRC-32 of each block.

    CRC-32 is faster than SHA-256. It detects accidental changes; it does not protect against forgery.

    Args:
        descriptor: Descriptor of the file.
        size: Number of bytes.

    Raises:
        OSError: The file cannot be read.
    """
    blocks = -(-size // _BLOCK)
    count = max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0)), blocks))
    shares = [range(number * blocks // count, (number + 1) * blocks // count) for number in range(count)]
    if count == 1:
        sums = [_sums(descriptor, size, shares[0])]
    else:
        with ThreadPoolExecutor(count) as threads:
            sums = list(threads.map(lambda share: _sums(descriptor, size, share), shares))
    return sha256(b"".join(part for share in sums for part in share)).hexdigest()


def _sums(descriptor: int, size: int, blocks: Sequence[int]) -> list[bytes]:
    """CRC-32 of each block, 4 bytes; a block beyond the end of the file counts as empty."""
    buffer = memoryview(mmap(-1, max(1, min(_BLOCK, size))))  # outside the heap, where each thread would keep a buffer
    found = []
    for block in blocks:
        room = buffer[: min(_BLOCK, size - block * _BLOCK)]
        count = _read(descriptor, room, block * _BLOCK)
        found.append(zlib.crc32(room[:count]).to_bytes(4, "big"))
    return found


def _read(descriptor: int, target: memoryview, offset: int) -> int:
    """Read bytes at an offset of a file until ``target`` is full or the file ends; returns their number."""
    done = 0
    while done < len(target):
        count = os.preadv(descriptor, [target[done:]], offset + done)
        if not count:
            break
        done += count
    return done
