"""The memory of replies stays small, whatever a replica sends."""

import tracemalloc

from embedfleet.gateway.upstream.reply import ReplyMemory


def head(value: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nx-a: %b\r\ncontent-length: 1" % value


def test_heads_and_lines_longer_than_usual_are_not_remembered():
    memory = ReplyMemory()
    tracemalloc.start()
    try:
        for number in range(10_000):
            assert memory.find(head(b"%d" % number + b"x" * 3000)) is not None
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 16_000_000


def test_a_head_of_unusual_length_is_left_to_the_parser():
    assert ReplyMemory().find(head(b"x" * 5000)) is None
