"""What a batch costs a replica, found out by asking it a few."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import orjson

from embedfleet.errors import UpstreamError
from embedfleet.gateway.dispatch.pace import Cost, fit
from embedfleet.gateway.dispatch.replica import Abilities
from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from embedfleet.probe import question
from embedfleet.types import Endpoint

_OK = 200
_TIMES = 2  # each batch is asked for so often, and the best counts: what delays one is not the batch
_MOST_S = 0.5  # a batch that is expected to take longer is not asked for: a slow replica is not kept from serving
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One batch.

    Attributes:
        texts: how many.
        words: of each, about as many tokens.
    """

    texts: int
    words: int

    @property
    def tokens(self) -> int:
        """About."""
        return self.texts * self.words


TRIALS = (Trial(1, 8), Trial(1, 128), Trial(1, 512), Trial(4, 512), Trial(16, 512))
"""From the smallest to the largest."""


class Calibration:
    """Measures each replica once, and again when it says something else of itself.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._known: dict[str, tuple[dict[str, Any], Cost | None]] = {}
        self._numbers = count(1)

    async def cost(self, endpoint: Endpoint, info: dict[str, Any]) -> Cost | None:
        """What it costs, None if it could not be found out.

        Args:
            endpoint: of a replica that has just inferred.
            info: what it says of itself.
        """
        known = self._known.get(endpoint.url)
        if known is None or known[0] != info:
            known = self._known[endpoint.url] = info, fit(await self._samples(endpoint, info))
        return known[1]

    async def _samples(self, endpoint: Endpoint, info: dict[str, Any]) -> list[tuple[int, float]]:
        """Tokens and seconds of each trial; those after one that failed are left out."""
        samples: list[tuple[int, float]] = []
        for trial in wanted(Abilities.of(info)):
            if samples and samples[-1][1] * trial.tokens / samples[-1][0] > _MOST_S:
                break
            try:
                found = [await self._ask(endpoint, info, trial) for _ in range(_TIMES)]
            except UpstreamError:
                break
            if None in found:
                break
            samples.append(min((sample for sample in found if sample is not None), key=lambda sample: sample[1]))
        return samples

    async def _ask(self, endpoint: Endpoint, info: dict[str, Any], trial: Trial) -> tuple[int, float] | None:
        """Tokens and seconds; None if it answered anything else than 200."""
        path, body = question(info, [self._text(trial.words) for _ in range(trial.texts)])
        data, begin = orjson.dumps(body), self._clock()
        reply = await fetch(endpoint.url + path, method="POST", body=data, headers=[JSON], timeout_s=_TIMEOUT_S)
        seconds = self._clock() - begin
        if reply.status != _OK:
            return None
        told = reply.headers.get("x-compute-tokens", "")
        return (int(told) if told.isdigit() else trial.tokens), seconds

    def _text(self, words: int) -> str:
        """A text that nobody has computed before."""
        return " ".join([str(next(self._numbers)), *("and" for _ in range(words - 1))])


def wanted(abilities: Abilities) -> list[Trial]:
    """The trials that a replica takes."""
    return [
        trial
        for trial in TRIALS
        if trial.texts <= abilities.batch_texts
        and trial.words <= abilities.input_tokens
        and trial.tokens <= abilities.batch_tokens
    ]
