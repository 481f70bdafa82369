"""Requests and their chunks: plain data that the dispatcher alone changes."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Final

from mypy_extensions import mypyc_attr
from typing_extensions import override

_NO_NAMES: Final[frozenset[str]] = frozenset()
_ONLINE_TEXTS, _ONLINE_TOKENS = 8, 4096


@mypyc_attr(allow_interpreted_subclasses=True)
class Handle:
    """The caller's own object behind a request; the dispatcher asks it about the request's texts.

    The answers here suit a request whose texts are unknown: it is like no other, and cannot be split.
    """

    @property
    def key(self) -> int:
        """Number that is equal for requests that ask the same."""
        return id(self)

    @property
    def fingerprints(self) -> Sequence[int]:
        """One number per text, equal wherever the same is asked about the same text."""
        return (self.key,)

    def split(self, *, by_length: bool) -> "SplitState | None":
        """Return the request's texts for splitting, or None if they cannot be split.

        Args:
            by_length: Whether texts of similar length should end up in the same chunk.
        """
        del by_length
        return None


class Chunk(metaclass=ABCMeta):
    """A whole request, or some of its texts, as one replica is sent it at once.

    Attributes:
        is_online: Whether it goes before bulk work.
        arrived: Time at which the request arrived.
        tokens: Estimated tokens.
        texts: Number of texts.
        items: Indices of its texts in the request, in the order of sending; empty for a whole request.
        deadline: Time after which the client no longer wants an answer.
        replica_id: Replica that has it; empty while it waits and once it is over.
        copy_id: Second replica that has it, because the first was silent; empty if there is none.
        sent_at: Time of the last sending, once it was sent.
        due_at: Time at which its replica becomes suspect, if that has given no sign of life since `sent_at`.
        sends: Number of sendings so far, without those that the replica refused.
        starved_at: Time at which no connection could be made for it for the first time; None if that never happened.
        was_sent: Whether it, or the chunk that it was split from, was sent before; any further sending is a repetition.
        tried: Replicas that failed it.
        unanswered_by: Replicas that are alive and could not answer it, by an error or an unusable reply.
        too_much_for: Replicas that answered 429 to it while they had nothing else.
        is_blamed: Whether two replicas could not compute it, or the chunk that it was split from.
        is_accused: Whether a replica died while it had this, or a text of this; see `quarantine`.
        is_on_trial: Whether a replica has it and nothing else, to see whether that dies of it.
        sending: The caller's own record of how it is sent; the dispatcher does not read it.
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
        """The request that it belongs to; a whole request belongs to itself."""

    @property
    @abstractmethod
    def fingerprints(self) -> Sequence[int]:
        """One number per text, equal wherever the same is asked about the same text."""


class RequestPart(Chunk):
    """Some of the texts of a request.

    Args:
        request: Request that it is a part of.
        items: Indices of its texts in the request, in the order of sending.
        tokens: Estimated tokens of these texts.
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
    """A request; it is its own and only chunk until it is split.

    Args:
        handle: The caller's object behind it.
        tokens: Estimated tokens of all texts.
        texts: Number of texts.
        size_bytes: Size of its body.
        is_online: Whether it goes before bulk work.
        now: Time of arrival, in seconds.
        timeout_s: Time from arrival after which the client no longer wants an answer.

    Attributes:
        split_state: How far it is split into parts; None if it goes whole.
        is_over: Whether it was answered or refused, or its client left.
        is_inference: Whether a good answer to it takes inference, and so tells how fast a replica is.
        is_shared: Whether it asks on behalf of several clients, which can also be served one by one; see `Separate`.
        queued_bytes: Bytes that it counts in the bound of the queues.
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
        return self  # not stored: a reference to itself is a cycle that only the garbage collector frees

    @property
    @override
    def fingerprints(self) -> Sequence[int]:
        return self.handle.fingerprints

    def parts(self) -> "list[RequestPart]":
        """Return its parts that are at replicas or wait to be sent again."""
        return list(self.split_state.parts) if self.split_state is not None else []

    def chunks(self) -> list[Chunk]:
        """Return the request and its parts: every chunk of it that may be anywhere."""
        return [self, *self.parts()]

    def add_part(self, state: "SplitState", items: Sequence[int], tokens: int) -> RequestPart:
        """Make a part of these texts and note it in the split state."""
        part = RequestPart(self, items, tokens)
        state.parts[part] = None
        return part


class SplitState:
    """How far a request is split into parts, which happens as late as possible.

    Args:
        costs: Estimated tokens of each text.
        sizes: Bytes of each text.
        order: Order in which texts are taken into parts.
        extra: Number of texts that each part carries besides its own, such as the query that all are compared with.
        frame_bytes: Bytes of each part besides its texts: its head, a query.

    Attributes:
        spare_parts: Number of parts that it may be split into beyond the fewest possible.
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
        """Whether every text is in a part."""
        return self.taken == len(self.order)

    @property
    def has_answers(self) -> bool:
        """Whether some of the texts are answered."""
        return self.unanswered < len(self.costs)

    def set_apart(self, items: Sequence[int]) -> None:
        """Take these texts out of the order, because each of them becomes a part of its own."""
        apart = frozenset(items)
        self.order = [item for item in self.order if item not in apart]
        self.waiting_tokens -= sum(self.costs[item] for item in items)

    def take_all(self) -> None:
        """Count every text as taken into a part."""
        self.taken, self.waiting_tokens = len(self.order), 0


def counts_as_online(texts: int, tokens: int, *, is_rerank: bool) -> bool:
    """Decide whether a client is likely to wait for the answer: a reranking, a few short texts, or a single text.

    A single long text cannot be split. As bulk work it would only be put behind the short texts of others.

    Args:
        texts: Number of texts.
        tokens: Estimated tokens of all texts.
        is_rerank: Whether the texts are ranked for a query.
    """
    return is_rerank or texts == 1 or (texts <= _ONLINE_TEXTS and tokens <= _ONLINE_TOKENS)
