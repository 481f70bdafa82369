"""Two dispatchers that are told the same, and requests for them."""

from dataclasses import fields

from embedfleet.gateway.dispatch.command import Send
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Batch, Chunk, Part, Request


class Divisible(Request):
    """A request of texts that cost so many tokens.

    Args:
        costs: of each text.
        is_whole: it cannot be cut.
        poison: the text that no replica can compute, if there is one.
    """

    def __init__(self, costs, *, online, now, number=0, is_whole=False, poison=None, timeout_s=100.0):
        super().__init__(
            tokens=sum(costs), texts=len(costs), size_bytes=4 * sum(costs), online=online, now=now, timeout_s=timeout_s
        )
        self.costs = costs
        self.number = number
        self.is_whole = is_whole
        self.poison = poison
        self.timeout_s = timeout_s
        self.is_informed = True  # when it came, somebody knew what a replica takes
        self.answered: list[int] = []  # texts whose answer is there
        self.sent: set[int] = set()  # texts that were ever sent

    @property
    def key(self):
        return self.number

    @property
    def fingerprints(self):
        return [1000 * self.number + item for item in range(self.texts)]

    def part(self, items, tokens):
        return DivisiblePart(self, items, tokens)

    def divide(self, *, by_length):
        if self.is_whole:
            return None
        order = sorted(range(len(self.costs)), key=lambda item: -self.costs[item] if by_length else item)
        return Batch(self.costs, [4 * cost for cost in self.costs], order)

    def twin(self):
        """The same, asked of another dispatcher."""
        given = {"online": self.online, "number": self.number, "is_whole": self.is_whole, "timeout_s": self.timeout_s}
        return Divisible(self.costs, now=self.arrived, **given)


class DivisiblePart(Part):
    @property
    def fingerprints(self):
        whole = self.request.fingerprints
        return [whole[item] for item in self.items]


def items(chunk) -> list[int]:
    return list(chunk.items) if isinstance(chunk, Part) else list(range(chunk.texts))


class Twins:
    """A dispatcher, and another that is told the same and must want the same: no chance, no clock, no addresses.

    Attributes:
        first: the one that is looked at.
    """

    def __init__(self, limits):
        self.first, self._second = Dispatcher(limits), Dispatcher(limits)
        self._chunks: dict[Chunk, Chunk] = {}  # the first's → the second's

    def tell(self, what, *given):
        """An event, as a method of `Dispatcher`; what the first one answers."""
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
        if isinstance(thing, Divisible):
            return self._chunks.setdefault(thing, thing.twin())
        if isinstance(thing, Replica):
            return self._second.replicas[thing.id]
        return self._chunks[thing] if isinstance(thing, Chunk) else thing

    def _described(self, command):
        return [type(command), *[self._named(getattr(command, field.name)) for field in fields(command)]]

    @staticmethod
    def _named(thing):
        if isinstance(thing, Chunk):
            return thing.request.number, items(thing)
        return thing.id if isinstance(thing, Replica) else str(thing)
