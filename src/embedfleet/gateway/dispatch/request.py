"""A client's request as the dispatcher knows it, and the chunks that replicas are sent of it."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from embedfleet.gateway.dispatch.replica import Replica

_NONE: Final[frozenset[str]] = frozenset()


@mypyc_attr(allow_interpreted_subclasses=True)
class Chunk(metaclass=ABCMeta):
    """What one replica is sent at once: a whole request, or some of its texts.

    Callers derive from it what they keep of a chunk themselves.

    Attributes:
        online: whether it goes before bulk.
        tokens: estimated.
        texts: how many.
        deadline: after which nobody wants it.
        replica: where it is, None while it waits and once it is over.
        copy: where it is as well, if that replica was suspected.
        sent_at: when it was sent last, once it was.
        due_at: likewise, when its replica, if nothing at all was heard of it since, is suspect.
        sends: so far, refusals not counted.
        starved_at: when there was first no connection to be had for it; None if there always was.
        was_sent: whether it, or what it was cut from, was sent to anybody: what follows is sent again.
        tried: replicas that failed it.
        unanswered_by: replicas that live and could not answer it: an error, or nothing that can be used.
        too_much_for: replicas that had nothing else when they answered 429 to it.
        blamed: whether two replicas could not compute the chunk that it was cut from, or it.
        is_accused: whether a replica died while it had this, or the like of it, see `quarantine`.
        is_on_trial: whether it is at a replica that has nothing else, to see whether that dies of it.
    """

    online: bool
    deadline: float
    tokens: int
    texts: int
    replica: "Replica | None" = None
    copy: "Replica | None" = None
    sent_at: float
    due_at: float
    sends = 0
    starved_at: float | None = None
    was_sent = False
    tried: frozenset[str] = _NONE
    unanswered_by: frozenset[str] = _NONE
    too_much_for: frozenset[str] = _NONE
    blamed = False
    is_accused = False
    is_on_trial = False

    @property
    def fingerprints(self) -> Sequence[int]:
        """A number for each text, the same wherever the same is asked of the same text; callers that know it say so."""
        return (id(self),)

    @property
    def places(self) -> Sequence[int]:
        """Indices of its texts in the request; none if it is the whole."""
        return ()

    @property
    @abstractmethod
    def request(self) -> "Request":
        """Whose; itself, if it is a whole request."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Part(Chunk):
    """Some of the texts of a request.

    Attributes:
        items: indices of its texts in the request, in the order in which they are sent.
    """

    def __init__(self, request: "Request", items: Sequence[int], tokens: int) -> None:
        self._request = request
        self.online = request.online
        self.deadline = request.deadline
        self.tokens = tokens
        self.texts = len(items)
        self.items = items

    @property
    def places(self) -> Sequence[int]:
        """See `Chunk`."""
        return self.items

    @property
    def request(self) -> "Request":
        """Whose."""
        return self._request


@mypyc_attr(allow_interpreted_subclasses=True)
class Request(Chunk):
    """A client's request; it is its own and only chunk unless it has a batch.

    Attributes:
        arrived: when.
        size_bytes: of its body.
        batch: what is to be cut into parts, None if it goes whole.
        over: it was answered, refused or left.
        is_work: whether a good answer to it takes inference, so that it tells how fast a replica is.
        is_shared: whether it asks for several clients at once, each of whom can be asked for alone, see `Separate`.
        queued_bytes: what it counts in the bound of the queues.
    """

    batch: "Batch | None" = None
    over = False
    is_work = True
    is_shared = False
    queued_bytes = 0

    def __init__(self, *, tokens: int, texts: int, size_bytes: int, online: bool, now: float, timeout_s: float) -> None:
        self.arrived = now
        self.size_bytes = size_bytes
        self.online = online
        self.deadline = now + timeout_s
        self.tokens = tokens
        self.texts = texts

    @property
    def request(self) -> "Request":
        """Itself; not kept, or each would be a cycle that only the collector frees."""
        return self

    @property
    def key(self) -> int:
        """The same for requests that ask the same; callers that know what it asks say so."""
        return id(self)

    def divide(self, *, by_length: bool) -> "Batch | None":
        """Its texts, where it can be cut; callers that know them say so.

        Args:
            by_length: whether texts of like length are to come together.
        """
        del by_length
        return None

    def part(self, items: Sequence[int], tokens: int) -> Part:
        """A part of it; callers may give a class of their own."""
        return Part(self, items, tokens)


class Batch:
    """The texts of a request that is cut, as late as possible, into parts.

    Args:
        costs: of each text, in estimated tokens.
        sizes: of each text, in bytes.
        order: in which texts are taken.
        extra: texts that each part carries besides its own, such as the one that all are compared with.
        frame_bytes: of each part besides its texts: its head, a query.

    Attributes:
        spare_parts: how many more it may be cut into than it must be.
        taken: how many of ``order`` were cut off.
        waiting_tokens: of those that were not.
        unanswered: texts whose answer is not there yet.
        parts: sent or waiting to be sent again, in the order in which they were cut.
    """

    __slots__ = (
        "costs", "extra", "frame_bytes", "order", "parts", "sizes", "spare_parts", "taken", "unanswered",
        "waiting_tokens",
    )  # fmt: skip

    def __init__(
        self, costs: Sequence[int], sizes: Sequence[int], order: Sequence[int], extra: int = 0, frame_bytes: int = 0
    ) -> None:
        self.costs = costs
        self.extra = extra
        self.frame_bytes = frame_bytes
        self.sizes = sizes
        self.order = order
        self.spare_parts = len(order)
        self.taken = 0
        self.waiting_tokens = sum(costs)
        self.unanswered = len(costs)
        self.parts: dict[Part, None] = {}

    @property
    def is_taken(self) -> bool:
        """Whether nothing is left to cut."""
        return self.taken == len(self.order)


_ONLINE_TEXTS, _ONLINE_TOKENS = 8, 4096


def is_online(texts: int, tokens: int, *, rerank: bool) -> bool:
    """Whether somebody is likely to wait for it: a reranking, a few short texts, or one of any length.

    One long text cannot be cut, so as bulk work it would only be put behind all the others' short ones.

    Args:
        texts: how many.
        tokens: of all of them, estimated.
        rerank: whether they are ranked for a query.
    """
    return rerank or texts == 1 or (texts <= _ONLINE_TEXTS and tokens <= _ONLINE_TOKENS)
