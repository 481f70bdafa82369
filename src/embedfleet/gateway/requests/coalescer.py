"""Coalescing of small requests that arrived in the same turn of the event loop and differ only in their text.

Coalescing saves much of a request's cost, here and at the replica. It delays no request: only requests that are already
there are put together, and a replica's batch becomes little longer (`Group.split`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from embedfleet.dialects.coalescing import read_single
from embedfleet.dialects.splitting.no_token_texts import is_invisible
from embedfleet.gateway.dispatch.replica_speed import BatchCost
from embedfleet.gateway.upstream.forwarding import RequestFields
from embedfleet.http.exchange import Exchange

log = logging.getLogger(__name__)

_MOST_TEXTS = 32


@dataclass(slots=True)
class Group:
    """Requests for one vector each that may be sent as one.

    Attributes:
        fields: Fields of the heads, which are equal.
        others: Rest of the bodies besides the texts, as `read_single` returns it.
        exchanges: Exchanges with the clients.
        texts: Text of each request.
        costs: Estimated tokens of each text.
    """

    fields: RequestFields
    others: bytes
    exchanges: list[Exchange] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)

    def split(self, cost: BatchCost, most_texts: int) -> "list[Group]":
        """Split the group so that the texts of each part take at most as long as a batch's fixed cost.

        Args:
            cost: Batch cost of a replica; the bound is ``b_s * tokens <= a_s``.
            most_texts: Most texts that a replica takes at once.
        """
        most_tokens = cost.a_s / cost.b_s
        most = min(most_texts, _MOST_TEXTS)
        if len(self.costs) <= most and sum(self.costs) <= most_tokens:
            return [self]
        starts, tokens, count = [0], 0, 0
        for place, text_tokens in enumerate(self.costs):
            if count and (tokens + text_tokens > most_tokens or count >= most):
                starts.append(place)
                tokens = count = 0
            tokens += text_tokens
            count += 1
        return [self._part(start, end) for start, end in zip(starts, [*starts[1:], len(self.costs)], strict=True)]

    def _part(self, start: int, end: int) -> "Group":
        of = slice(start, end)
        return Group(self.fields, self.others, self.exchanges[of], self.texts[of], self.costs[of])


class Coalescer:
    """Collects the requests that arrive in one turn of the event loop, and groups them."""

    def __init__(self) -> None:
        self._came: list[Exchange] = []

    def add(self, exchange: Exchange) -> bool:
        """Add a request; return whether it is the first of this turn."""
        self._came.append(exchange)
        return len(self._came) == 1

    def take(self, tokens: Callable[[int], int]) -> tuple[list[Exchange], list[Group]]:
        """Return the collected requests, and start to collect anew.

        Args:
            tokens: Function that estimates the tokens of a text from its number of characters.

        Returns:
            Requests to send alone, and groups of requests.
        """
        came, self._came = self._came, []
        if len(came) == 1:
            return came, []
        try:
            return _grouped(came, tokens)
        except Exception:
            log.exception("requests could not be grouped, and are sent alone")
            return came, []


def _grouped(came: list[Exchange], tokens: Callable[[int], int]) -> tuple[list[Exchange], list[Group]]:
    alone: list[Exchange] = []
    groups: dict[tuple[RequestFields, bytes], Group] = {}
    group: Group | None = None
    for exchange in came:
        lone = read_single(exchange.body)
        fields = exchange.head.note
        if lone is None or exchange.gone or not isinstance(fields, RequestFields):
            alone.append(exchange)
            continue
        text, others = lone
        if not " " < text[:1] < "\x7f" and is_invisible(text):  # the first test usually avoids the call
            alone.append(exchange)
            continue
        if group is None or group.fields is not fields or group.others != others:  # mostly, the last group fits
            group = groups.get((fields, others))
            if group is None:
                group = groups[fields, others] = Group(fields, others)
        group.exchanges.append(exchange)
        group.texts.append(text)
        group.costs.append(tokens(len(text)))
    return alone, list(groups.values())
