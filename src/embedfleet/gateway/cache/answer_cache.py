"""The answers that are kept, bounded in bytes, with a policy that a long run of new texts cannot flush. Pure.

The policy is S3-FIFO (Yang et al., SOSP 2023, https://doi.org/10.1145/3600006.3613147), with sizes in bytes. A new
answer enters a small queue, with a tenth of the space. At the queue's end it is dropped, unless it was found meanwhile:
then it moves to the main queue. So texts that come once pass through the small queue only. An answer that was dropped
and soon computed again enters the main queue at once, for which the keys of dropped answers are remembered for a while.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

OVERHEAD_BYTES: Final = 320
"""Bytes of a kept answer besides its reply: its key, its record, its places in the table and in a queue."""
GHOST_BYTES: Final = 160
"""Bytes of the key of a dropped answer, with its places in the set and in the queue."""

_SMALL_SHARE: Final = 10  # the small queue has a tenth of the space
_GHOST_SHARE: Final = 20  # keys of dropped answers have a twentieth of the space
_MOST_HITS: Final = 3  # finds that are counted
_MOST_MOVES: Final = 64  # answers that are moved for one new answer, so that no single request takes long


class Answer:
    """A replica's answer to one text.

    Args:
        reply: Body of the reply that the text alone would have got.
        tokens: Tokens of the text, as the replica counted them; -1 if it did not.

    Attributes:
        reply: Body of the reply that the text alone would have got.
        tokens: Tokens of the text, as the replica counted them; -1 if it did not.
        hits: Number of finds that still keep it in the main queue.
    """

    __slots__ = ("hits", "reply", "tokens")

    def __init__(self, reply: bytes, tokens: int) -> None:
        self.reply = reply
        self.tokens = tokens
        self.hits = 0


class AnswerCache:
    """Answers by key.

    Args:
        most_bytes: Size in bytes, overhead included.

    Attributes:
        most_bytes: Size in bytes, overhead included.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._room = most_bytes - most_bytes // _GHOST_SHARE
        self._small_room = most_bytes // _SMALL_SHARE
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self._answers: dict[bytes, Answer] = {}
        self._small: deque[bytes] = deque()
        self._main: deque[bytes] = deque()
        self._small_bytes = 0
        self._main_bytes = 0
        self._ghosts: set[bytes] = set()
        self._ghost_order: deque[bytes] = deque()  # may also have keys that returned since

    def __len__(self) -> int:
        """Number of answers."""
        return len(self._answers)

    @property
    def used_bytes(self) -> int:
        """Bytes in use, overhead included."""
        return self._small_bytes + self._main_bytes + GHOST_BYTES * len(self._ghost_order)

    def find(self, key: bytes) -> Answer | None:
        """Find an answer; None if it is not kept."""
        answer = self._answers.get(key)
        if answer is not None and answer.hits < _MOST_HITS:
            answer.hits += 1
        return answer

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer, unless it is kept already or is larger than the small queue."""
        size = _size(answer)
        if key in self._answers or size > self._small_room:
            return
        answer.hits = 0
        if key in self._ghosts:
            self._ghosts.discard(key)
            self._shrink(self._room - size, 0)
            self._main.append(key)
            self._main_bytes += size
        else:
            self._shrink(self._room - size, self._leave_small(size))
            self._small.append(key)
            self._small_bytes += size
        self._answers[key] = answer

    def items(self) -> Iterator[tuple[bytes, Answer]]:
        """Yield all answers, those of the main queue last: so `put` keeps them if there is not room for all."""
        for queue in (self._small, self._main):
            for key in queue:
                yield key, self._answers[key]

    def _leave_small(self, size: int) -> int:
        """Take answers out of the small queue until one of ``size`` bytes fits into it; return how many moved on."""
        moves = 0
        while self._small_bytes + size > self._small_room:
            key = self._small.popleft()
            answer = self._answers[key]
            bytes_ = _size(answer)
            self._small_bytes -= bytes_
            is_found = answer.hits > 0 and moves < _MOST_MOVES
            if is_found or self._main_bytes + bytes_ <= self._room - self._small_room:
                moves += 1
                answer.hits = 0
                self._main.append(key)
                self._main_bytes += bytes_
            else:
                del self._answers[key]
                self._remember(key)
        return moves

    def _shrink(self, most: int, moves: int) -> None:
        """Drop answers of the main queue until all answers take at most ``most`` bytes."""
        while self._main and self._small_bytes + self._main_bytes > most:
            key = self._main.popleft()
            answer = self._answers[key]
            if answer.hits > 0 and moves < _MOST_MOVES:
                moves += 1
                answer.hits -= 1
                self._main.append(key)
            else:
                del self._answers[key]
                self._main_bytes -= _size(answer)

    def _remember(self, key: bytes) -> None:
        """Remember the key of a dropped answer, as long as there is room for keys."""
        order = self._ghost_order
        most = min((self.most_bytes - self._room) // GHOST_BYTES, len(self._answers))
        while order and len(order) >= most:
            self._ghosts.discard(order.popleft())
        if most:
            self._ghosts.add(key)
            order.append(key)


def _size(answer: Answer) -> int:
    return len(answer.reply) + OVERHEAD_BYTES
