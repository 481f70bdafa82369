"""Computations under way, by their texts: a request for an equal text waits for one instead of a replica. Pure."""

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence

from mypy_extensions import mypyc_attr

from embedfleet.gateway.cache.answer_cache import Answer


@mypyc_attr(allow_interpreted_subclasses=True)
class Waiting(metaclass=ABCMeta):
    """A request that waits for answers."""

    @abstractmethod
    def take(self, computation: "Computation", answers: Mapping[bytes, Answer]) -> None:
        """Take the answers of a computation that has ended well."""

    @abstractmethod
    def lose(self, computation: "Computation") -> None:
        """Compute alone what a computation has failed to answer."""


class Computation:
    """Texts that are being computed for one request, and the requests that wait for some of them.

    Args:
        keys: Key of each text.
        is_online: Whether the texts go before bulk work.

    Attributes:
        keys: Key of each text.
        is_online: Whether the texts go before bulk work.
        waiting: Requests that wait, in order of arrival; the one that began the computation is the first, unless its
            client has left.
    """

    def __init__(self, keys: Sequence[bytes], *, is_online: bool) -> None:
        self.keys = keys
        self.is_online = is_online
        self.waiting: dict[Waiting, None] = {}


class UnderWay:
    """The computations that have not ended, by the keys of their texts."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Computation] = {}

    def __len__(self) -> int:
        """Number of texts under way."""
        return len(self._by_key)

    def find(self, key: bytes, *, is_online: bool) -> Computation | None:
        """Find the computation of a text that a request may wait for; None if there is none.

        An online request does not wait for bulk work, which may stay in the queue for long.
        """
        computation = self._by_key.get(key)
        return None if computation is None or (is_online and not computation.is_online) else computation

    def begin(self, computation: Computation) -> None:
        """Let later requests find a computation, unless one that is as urgent has the same text."""
        for key in computation.keys:
            other = self._by_key.get(key)
            if other is None or (computation.is_online and not other.is_online):
                self._by_key[key] = computation

    def end(self, computation: Computation) -> list[Waiting]:
        """Take out a computation that is over, and return the requests that wait for it."""
        for key in computation.keys:
            if self._by_key.get(key) is computation:
                del self._by_key[key]
        waiting = list(computation.waiting)
        computation.waiting.clear()
        return waiting

    def leave(self, computation: Computation, request: Waiting) -> bool:
        """Take a request off a computation; return whether nobody waits for it any more, so that it is to be ended."""
        computation.waiting.pop(request, None)
        return not computation.waiting
