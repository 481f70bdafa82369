"""What a batch costs a replica, found out by asking it a few."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from embedfleet.errors import Malformed, Starved, TimedOut, UpstreamError
from embedfleet.gateway.dispatch.pace import Cost, fit
from embedfleet.gateway.dispatch.replica import Abilities
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from embedfleet.probe.question import batch_of
from embedfleet.types import Endpoint

_OK, _FULL = 200, 429
_SLOW_S = 0.5  # after a batch that took longer, no larger one
_QUICK_S = 0.1  # a batch that took less is asked for twice and the best counts: what delayed one is not the batch
_RECENT_S = 30.0  # a replica that comes and goes is not measured more often than this
_SPECIAL = 2  # tokens that a text has besides its words
_COMMON = (
    "the of and to in is was for on that with as by at from it an be this are or his not but had have they which one "
    "you were all her she there would their we him been has when who will no more if out so up said what its about "
    "than into them can only other time new some could these two may first then do any like my now over such our man "
    "me even most made after also did many off before must well back through years where much your way down should"
)
_WORDS = _COMMON.split()  # each is one token of most vocabularies


@dataclass(frozen=True, slots=True)
class Trial:
    """One batch.

    Attributes:
        texts: how many.
        words: of each, the tokens that its tokenizer adds included: about as many tokens.
    """

    texts: int
    words: int

    @property
    def tokens(self) -> int:
        """About."""
        return self.texts * self.words


TRIALS = (Trial(1, 8), Trial(1, 128), Trial(1, 512), Trial(4, 512), Trial(16, 512))
"""From the smallest to the largest."""

Sample = tuple[int, float]
"""Tokens and seconds of one batch."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What was found, of whom, and when."""

    url: str
    info: dict[str, Any]
    absences: int
    at: float
    cost: Cost | None


class Calibration:
    """Measures each replica once, and again when it says something else of itself or has been away.

    One that was ejected while it was there all the time, for one broken connection or some failures, is the same
    process on the same device: what was measured holds, and it comes back without delay.

    Args:
        clock: in seconds.
        budget_s: for all batches together: a slow replica is not kept from serving.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, budget_s: float = 2.0) -> None:
        self._clock = clock
        self._budget_s = budget_s
        self._random = random.Random()  # noqa: S311 - words, not secrets
        self._known: dict[str, _Measured] = {}

    async def cost(self, endpoint: Endpoint, info: dict[str, Any], absences: int = 0) -> Cost | None:
        """What it costs, None if it could not be found out.

        Args:
            endpoint: of a replica that has just inferred.
            info: what it says of itself.
            absences: how often nobody was found there; whoever came after may be another process.
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
        """Of each trial; those after one that failed are left out, and all if it is at work for others."""
        samples: list[Sample] = []
        ends_at = self._clock() + self._budget_s
        for trial in wanted(Abilities.of(info), info.get("max_batch_requests")):
            if not is_worthwhile(samples, trial, ends_at - self._clock()):
                break
            try:
                sample = await self._best(endpoint, info, trial, ends_at)
            except Starved:
                raise
            except UpstreamError:
                break
            if sample is None:
                return []
            samples.append(sample)
        return samples

    async def _best(self, endpoint: Endpoint, info: dict[str, Any], trial: Trial, ends_at: float) -> Sample | None:
        first = await self._ask(endpoint, info, trial, ends_at)
        if first is None or first[1] > _QUICK_S:
            return first
        second = await self._ask(endpoint, info, trial, ends_at)
        return second and min(first, second, key=lambda sample: sample[1])

    async def _ask(self, endpoint: Endpoint, info: dict[str, Any], trial: Trial, ends_at: float) -> Sample | None:
        """None if it has no room. One that is not done in time counts as done then: at least so slow it is.

        Raises:
            UpstreamError: it gave no answer, or another than 200.
        """
        path, body = batch_of(info, [self._text(trial.words) for _ in range(trial.texts)])
        data, begin = orjson.dumps(body), self._clock()
        try:
            reply = await fetch(
                endpoint.url + path, method="POST", body=data, headers=[JSON], timeout_s=max(0.0, ends_at - begin)
            )
        except TimedOut:
            return trial.tokens, self._clock() - begin
        seconds = self._clock() - begin
        if reply.status == _FULL:
            return None
        if reply.status != _OK:
            raise Malformed(f"{path} answered {reply.status}")
        return _tokens(reply.headers.get("x-compute-tokens", "")) or trial.tokens, seconds

    def _text(self, words: int) -> str:
        """A text that nobody has computed before."""
        return " ".join(self._random.choices(_WORDS, k=max(1, words - _SPECIAL)))


def wanted(abilities: Abilities, together: object = None) -> list[Trial]:
    """The trials, within what a replica takes.

    Args:
        abilities: of the replica.
        together: ``max_batch_requests`` of its ``/info``, the most texts of one batch; TEI on a CPU has 8 or 4 there.
    """
    most = min(abilities.batch_texts, together) if type(together) is int and together > 0 else abilities.batch_texts
    longest = min(abilities.input_tokens, abilities.batch_tokens)
    found: dict[Trial, None] = {}
    for trial in TRIALS:
        words = min(trial.words, longest)
        found[Trial(max(1, min(trial.texts, most, abilities.batch_tokens // words)), words)] = None
    return list(found)


def is_worthwhile(samples: Sequence[Sample], trial: Trial, left_s: float) -> bool:
    """Whether to ask for a batch after those that were measured.

    Args:
        samples: so far; two of them at least are needed to tell what a batch costs from what a token costs.
        trial: the next one.
        left_s: of the time for all of them.
    """
    if len(samples) < 2 or left_s <= 0:
        return left_s > 0
    cost = fit(samples)
    expected_s = cost.a_s + cost.b_s * trial.tokens if cost is not None else 0.0
    return samples[-1][1] <= _SLOW_S and expected_s <= left_s


def _tokens(told: str) -> int:
    """Of a reply's header; 0 if it does not tell."""
    return int(told) if told.isdecimal() and len(told) < 10 else 0
