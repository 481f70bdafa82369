"""Requests and their chunks: plain data that only the dispatcher changes."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Final

from mypy_extensions import mypyc_attr
from typing_extensions import override

_NO_NAMES: Final[frozenset[str]] = frozenset()
_ONLINE_TEXTS, _ONLINE_TOKENS = 8, 4096


@mypyc_attr(allow_interpreted_subclasses=True)
class Handle:
    """The caller's object behind a request, which knows the request's texts.

    The defaults here suit a request with unknown texts: no other request equals it, and it cannot be split.
    """

    @property
    def key(self) -> int:
        """Number that is equal for equal requests."""
        return id(self)

    @property
    def fingerprints(self) -> Sequence[int]:
        """One number per text; equal numbers mean the same question about the same text."""
        return (self.key,)

    def split(self, *, by_length: bool) -> "SplitState | None":
        """Return the split state of the request, or None if it cannot be split.

        Args:
            by_length: Whether a chunk should get texts of similar length.
        """
        del by_length
        return None


class Chunk(metaclass=ABCMeta):
    """A whole request or some of its texts, sent to one replica in one call.

    Attributes:
        is_online: Whether it goes before bulk work.
        arrived: Time at which the request arrived.
        tokens: Estimated tokens.
        texts: Number of texts.
        items: Indices of its texts in the request, in the order of sending; empty for a whole request.
        deadline: Time at which the request is given up.
        replica_id: Replica that has the chunk; empty while it waits and once it is over.
        copy_id: Second replica that has the chunk, because the first was silent; empty if there is none.
        sent_at: Time of the last send, once there was one.
        due_at: Time at which the replica becomes suspect, if it has given no sign of life since `sent_at`.
        sends: Number of sends so far, except refused, throttled (429) and starved ones.
        starved_at: First time at which no connection could be made for the chunk; None if that never happened.
        was_sent: Whether the chunk, or the one that it was split from, was sent before, so that another send is a
            repetition.
        tried: Replicas that failed the chunk, were silent with it, or died with one of its texts.
        unanswered_by: Live replicas that gave an error or an unusable reply instead of an answer.
        too_much_for: Replicas that answered 429 to the chunk while they had nothing else.
        is_blamed: Whether a replica answered 424 to the chunk, or to the one that it was split from.
        is_accused: Whether a replica died with the chunk or one of its texts (`quarantine`).
        is_on_trial: Whether a replica has only this chunk, to find out whether it kills the replica.
        sending: The caller's record of the chunk's sends; the dispatcher does not read it.
    """

    is_online: bool
    arrived: float
    deadline: float
    tokens: int
    texts: int
    items: Sequence[int] = ()
    replica_id = ""
    copy_id = ""
    sent_at: float
    due_at: float
    sends = 0
    starved_at: float | None = None
    was_sent = False
    tried: frozenset[str] = _NO_NAMES
    unanswered_by: frozenset[str] = _NO_NAMES
    too_much_for: frozenset[str] = _NO_NAMES
    is_blamed = False
    is_accused = False
    is_on_trial = False
    sending: object = None

    @property
    @abstractmethod
    def request(self) -> "Request":
        """The request that the chunk belongs to; a whole request belongs to itself."""

    @property
    @abstractmethod
    def fingerprints(self) -> Sequence[int]:
        """One number per text; equal numbers mean the same question about the same text."""


class RequestPart(Chunk):
    """Some of the texts of a request.

    Args:
        request: Request that the part belongs to.
        items: Indices of the part's texts in the request, in the order of sending.
        tokens: Estimated tokens of the part's texts.
    """

    def __init__(self, request: "Request", items: Sequence[int], tokens: int) -> None:
        self._request = request
        self.is_online = request.is_online
        self.arrived = request.arrived
        self.deadline = request.deadline
        self.tokens = tokens
        self.texts = len(items)
        self.items = items

    @property
    @override
    def request(self) -> "Request":
        return self._request

    @property
    @override
    def fingerprints(self) -> Sequence[int]:
        whole = self._request.fingerprints
        return [whole[item] for item in self.items]


class Request(Chunk):
    """A request, which is its own single chunk until it is split.

    Args:
        handle: The caller's object behind the request.
        tokens: Estimated tokens of all texts.
        texts: Number of texts.
        size_bytes: Size of the body.
        is_online: Whether it goes before bulk work.
        now: Time of arrival, in seconds.
        timeout_s: Seconds from arrival to the deadline.

    Attributes:
        split_state: Progress of its splitting into parts; None if it goes whole.
        is_over: Whether the request was answered or refused, or the client left.
        is_inference: Whether a good answer requires inference, so that it shows the replica's speed.
        is_shared: Whether the request serves several clients, which can also be served one by one (`Separate`).
        queued_bytes: Bytes of the body that count towards the limit of the queues.
    """

    split_state: "SplitState | None" = None
    is_over = False
    is_inference = True
    is_shared = False
    queued_bytes = 0

    def __init__(
        self, handle: Handle, *, tokens: int, texts: int, size_bytes: int, is_online: bool, now: float, timeout_s: float
    ) -> None:
        self.handle = handle
        self.arrived = now
        self.size_bytes = size_bytes
        self.is_online = is_online
        self.deadline = now + timeout_s
        self.tokens = tokens
        self.texts = texts

    @property
    @override
    def request(self) -> "Request":
        return self  # not stored: a reference to itself would be a cycle that only the garbage collector frees

    @property
    @override
    def fingerprints(self) -> Sequence[int]:
        return self.handle.fingerprints

    def parts(self) -> "list[RequestPart]":
        """Return the parts that are at replicas or wait to be sent again."""
        return list(self.split_state.parts) if self.split_state is not None else []

    def chunks(self) -> list[Chunk]:
        """Return the request itself and its parts: all chunks of it that a queue or a replica may have."""
        return [self, *self.parts()]

    def add_part(self, state: "SplitState", items: Sequence[int], tokens: int) -> RequestPart:
        """Make a part of the given texts, and add it to the split state."""
        part = RequestPart(self, items, tokens)
        state.parts[part] = None
        return part


class SplitState:
    """Progress of splitting a request into parts, which happens as late as possible.

    Args:
        costs: Estimated tokens of each text.
        sizes: Bytes of each text.
        order: Order in which texts are taken into parts.
        extra: Number of texts that every part repeats, such as the query of a reranking.
        frame_bytes: Bytes of each part besides its texts: the head, a query.

    Attributes:
        spare_parts: Number of parts that may be made beyond the fewest possible.
        taken: Number of entries of ``order`` that are in parts.
        waiting_tokens: Estimated tokens of the texts that are in no part yet.
        unanswered: Number of texts without an answer.
        parts: Parts at replicas or waiting to be sent again, in the order of splitting.
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
        self.parts: dict[RequestPart, None] = {}

    @property
    def is_complete(self) -> bool:
        """Whether a part contains every text."""
        return self.taken == len(self.order)

    @property
    def has_answers(self) -> bool:
        """Whether any text is answered."""
        return self.unanswered < len(self.costs)

    def set_apart(self, items: Sequence[int]) -> None:
        """Take the given texts out of the order, because each becomes a part of its own."""
        apart = frozenset(items)
        self.order = [item for item in self.order if item not in apart]
        self.waiting_tokens -= sum(self.costs[item] for item in items)

    def take_all(self) -> None:
        """Mark every text as taken into a part."""
        self.taken, self.waiting_tokens = len(self.order), 0


def counts_as_online(texts: int, tokens: int, *, is_rerank: bool) -> bool:
    """Decide whether a request is online, that is, a client probably waits: a reranking, few short texts, or one text.

    A single long text cannot be split. As bulk work it would only wait behind the short texts of others.

    Args:
        texts: Number of texts.
        tokens: Estimated tokens of all texts.
        is_rerank: Whether the texts are ranked for a query.
    """
    return is_rerank or texts == 1 or (texts <= _ONLINE_TEXTS and tokens <= _ONLINE_TOKENS)
