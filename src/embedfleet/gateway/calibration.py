"""Measuring a replica's batch cost with a few batches."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from embedfleet.errors import Malformed, Starved, TimedOut, UpstreamError
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.replica_speed import BatchCost, fit
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from embedfleet.probe.question import batch_of
from embedfleet.types import Endpoint

_OK, _FULL = 200, 429
_SLOW_S = 0.5  # after a batch that took longer, no larger batch is sent
_QUICK_S = 0.1  # a batch that took less is sent twice, and the better time counts, because one may have been delayed
_RECENT_S = 30.0  # least seconds between two measurements of a replica that repeatedly goes away and returns
_SPECIAL = 2  # special tokens of a text
_COMMON = (
    "the of and to in is was for on that with as by at from it an be this are or his not but had have they which one "
    "you were all her she there would their we him been has when who will no more if out so up said what its about "
    "than into them can only other time new some could these two may first then do any like my now over such our man "
    "me even most made after also did many off before must well back through years where much your way down should"
)
_WORDS = _COMMON.split()  # each is one token in most vocabularies


@dataclass(frozen=True, slots=True)
class BatchSize:
    """Size of one batch to measure.

    Attributes:
        texts: Number of texts.
        words: Words of each text plus its special tokens, which is about its number of tokens.
    """

    texts: int
    words: int

    @property
    def tokens(self) -> int:
        """Approximate tokens of the batch."""
        return self.texts * self.words


SIZES = (BatchSize(1, 8), BatchSize(1, 128), BatchSize(1, 512), BatchSize(4, 512), BatchSize(16, 512))
"""Batches to measure, from the smallest to the largest."""

Sample = tuple[int, float]
"""Tokens and seconds of one batch."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """Result of a measurement, with what identified the replica at that time."""

    url: str
    info: dict[str, Any]
    absences: int
    at: float
    cost: BatchCost | None


class Calibration:
    """Measures each replica once, and again after a change of its address or ``/info``, or after an absence.

    A replica that was ejected for one broken connection or some failures, but was never absent, is the same process on
    the same device. So its measurement stays valid, and the replica comes back without delay.

    Args:
        clock: Clock in seconds.
        budget_s: Seconds for all batches of a replica together, so that a slow replica soon begins to serve.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, budget_s: float = 2.0) -> None:
        self._clock = clock
        self._budget_s = budget_s
        self._random = random.Random()  # noqa: S311 - words, not secrets
        self._known: dict[str, _Measured] = {}

    async def cost(self, endpoint: Endpoint, info: dict[str, Any], absences: int = 0) -> BatchCost | None:
        """Return a replica's batch cost; None if it could not be measured.

        Args:
            endpoint: Endpoint of a replica that has just inferred.
            info: Its ``/info``.
            absences: Number of times that nothing answered at the endpoint; after each, the process may be another one.
        """
        known = self._known.get(endpoint.id)
        if known is None or not self._holds(known, endpoint, info, absences):
            cost = fit(await self._samples(endpoint, info))
            known = self._known[endpoint.id] = _Measured(endpoint.url, info, absences, self._clock(), cost)
        return known.cost

    def _holds(self, known: _Measured, endpoint: Endpoint, info: dict[str, Any], absences: int) -> bool:
        if known.url != endpoint.url or known.info != info:
            return False
        return known.absences == absences or self._clock() - known.at < _RECENT_S

    async def _samples(self, endpoint: Endpoint, info: dict[str, Any]) -> list[Sample]:
        """Measure each size until one fails; return no samples if the replica is busy with other work."""
        samples: list[Sample] = []
        ends_at = self._clock() + self._budget_s
        for size in wanted(Capabilities.of(info), info.get("max_batch_requests")):
            if not is_worthwhile(samples, size, ends_at - self._clock()):
                break
            try:
                sample = await self._best(endpoint, info, size, ends_at)
            except Starved:
                raise
            except UpstreamError:
                break
            if sample is None:
                return []
            samples.append(sample)
        return samples

    async def _best(self, endpoint: Endpoint, info: dict[str, Any], size: BatchSize, ends_at: float) -> Sample | None:
        first = await self._ask(endpoint, info, size, ends_at)
        if first is None or first[1] > _QUICK_S:
            return first
        second = await self._ask(endpoint, info, size, ends_at)
        return second and min(first, second, key=lambda sample: sample[1])

    async def _ask(self, endpoint: Endpoint, info: dict[str, Any], size: BatchSize, ends_at: float) -> Sample | None:
        """Measure one batch; a batch that is unfinished at the end of the time counts as finished then.

        Returns:
            Tokens and seconds of the batch; None if the replica has no room.

        Raises:
            UpstreamError: The replica gave no answer, or one other than 200.
        """
        path, body = batch_of(info, [self._text(size.words) for _ in range(size.texts)])
        data, begin = orjson.dumps(body), self._clock()
        try:
            reply = await fetch(
                endpoint.url + path, method="POST", body=data, headers=[JSON], timeout_s=max(0.0, ends_at - begin)
            )
        except TimedOut:
            return size.tokens, self._clock() - begin
        seconds = self._clock() - begin
        if reply.status == _FULL:
            return None
        if reply.status != _OK:
            raise Malformed(f"{path} answered {reply.status}")
        return _tokens(reply.headers.get("x-compute-tokens", "")) or size.tokens, seconds

    def _text(self, words: int) -> str:
        """Return a random text, so that no cache has it."""
        return " ".join(self._random.choices(_WORDS, k=max(1, words - _SPECIAL)))


def wanted(abilities: Capabilities, together: object = None) -> list[BatchSize]:
    """Return the sizes to measure, within a replica's limits.

    Args:
        abilities: Capabilities of the replica.
        together: ``max_batch_requests`` of the ``/info``, the most texts in one batch; TEI on a CPU states 8 or 4.
    """
    most = min(abilities.batch_texts, together) if type(together) is int and together > 0 else abilities.batch_texts
    longest = min(abilities.input_tokens, abilities.batch_tokens)
    found: dict[BatchSize, None] = {}
    for size in SIZES:
        words = min(size.words, longest)
        found[BatchSize(max(1, min(size.texts, most, abilities.batch_tokens // words)), words)] = None
    return list(found)


def is_worthwhile(samples: Sequence[Sample], size: BatchSize, left_s: float) -> bool:
    """Return whether to measure another batch.

    Args:
        samples: Measurements so far; a fit of the cost per batch and the cost per token needs at least two.
        size: Size of the next batch.
        left_s: Seconds that are left for all batches.
    """
    if len(samples) < 2 or left_s <= 0:
        return left_s > 0
    cost = fit(samples)
    expected_s = cost.a_s + cost.b_s * size.tokens if cost is not None else 0.0
    return samples[-1][1] <= _SLOW_S and expected_s <= left_s


def _tokens(stated: str) -> int:
    """Return the number of tokens in a header's value; 0 if there is none."""
    return int(stated) if stated.isdecimal() and len(stated) < 10 else 0
