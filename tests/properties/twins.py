"""Two dispatchers that get the same events, and requests for them."""

from dataclasses import fields

from embedfleet.gateway.dispatch.commands import Send
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Handle, Request, RequestPart, SplitState


class Texts(Handle):
    """Texts of a request with given costs.

    Args:
        costs: Tokens of each text.
        number: Number of the request.
        is_whole: Whether it cannot be split.
        poison: Index of the text that no replica can compute, if there is one.
        frame_bytes: Bytes of each part besides its texts.
    """

    def __init__(self, costs, *, number=0, is_whole=False, poison=None, frame_bytes=0):
        self.costs = costs
        self.number = number
        self.is_whole = is_whole
        self.poison = poison
        self.frame_bytes = frame_bytes
        self.is_informed = True  # whether the abilities of a replica were known when the request came
        self.answered: list[int] = []  # texts with an answer
        self.sent: set[int] = set()  # texts that were ever sent

    @property
    def key(self):
        return self.number

    @property
    def fingerprints(self):
        return [1000 * self.number + item for item in range(len(self.costs))]

    def split(self, *, by_length):
        if self.is_whole:
            return None
        order = sorted(range(len(self.costs)), key=lambda item: -self.costs[item] if by_length else item)
        return SplitState(self.costs, [4 * cost for cost in self.costs], order, 0, self.frame_bytes)


def divisible(costs, *, online, now, timeout_s=100.0, **texts) -> Request:
    """A request of texts with given costs; ``texts`` are further arguments of `Texts`."""
    return Request(
        Texts(costs, **texts),
        tokens=sum(costs),
        texts=len(costs),
        size_bytes=4 * sum(costs),
        is_online=online,
        now=now,
        timeout_s=timeout_s,
    )


def twin_of(request) -> Request:
    """The same request for another dispatcher."""
    texts = request.handle
    return divisible(
        texts.costs,
        online=request.is_online,
        now=request.arrived,
        timeout_s=request.deadline - request.arrived,
        number=texts.number,
        is_whole=texts.is_whole,
    )


def items(chunk) -> list[int]:
    return list(chunk.items) if isinstance(chunk, RequestPart) else list(range(chunk.texts))


class Twins:
    """Two dispatchers that get the same events and must return the same commands.

    So commands cannot depend on chance, a clock or addresses of objects.

    Attributes:
        first: Dispatcher that the tests examine.
    """

    def __init__(self, limits):
        self.first, self._second = Dispatcher(limits), Dispatcher(limits)
        self._chunks: dict[Chunk, Chunk] = {}  # chunk of the first → chunk of the second

    def tell(self, what, *given):
        """Report an event, as a method of `Dispatcher`; return the answer of the first one."""
        theirs = [self._theirs(thing) for thing in given]
        said, same = what(self.first, *given), what(self._second, *theirs)
        if isinstance(said, list):
            assert [self._described(one) for one in said] == [self._described(one) for one in same], "13: chance"
            for one, other in zip(said, same, strict=True):
                if isinstance(one, Send):
                    self._chunks[one.chunk] = other.chunk
        else:
            assert self._named(said) == self._named(same), "13: chance"
        assert self.first.due == self._second.due, "13: chance"
        return said

    def _theirs(self, thing):
        if isinstance(thing, Request):
            return self._chunks.setdefault(thing, twin_of(thing))
        if isinstance(thing, Replica):
            return self._second.replicas[thing.id]
        return self._chunks[thing] if isinstance(thing, Chunk) else thing

    def _described(self, command):
        return [type(command), *[self._named(getattr(command, field.name)) for field in fields(command)]]

    @staticmethod
    def _named(thing):
        if isinstance(thing, Chunk):
            return thing.request.handle.number, items(thing)
        return thing.id if isinstance(thing, Replica) else str(thing)
