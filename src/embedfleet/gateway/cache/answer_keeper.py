"""Keeps a cache over restarts of the gateway: reads its file at the start, and writes it from time to time."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from embedfleet.gateway.cache.answer_file import KeptAnswers, read_answers, write_answers
from embedfleet.gateway.cache.answer_keys import AnswerKeys
from embedfleet.gateway.cache.cache_context import CacheContext
from embedfleet.probe.pool_model import ModelIdentity

log = logging.getLogger(__name__)

_WRITE_S = 300.0
_LOOK_S = 0.1  # seconds between two looks at whether the pool's model is known yet
_AT_ONCE = 2000  # answers that are taken over in one turn of the event loop


class AnswerKeeper:
    """Keeps a cache over restarts.

    Args:
        context: The cache.
        file: Path of the file.
        model: Function that returns the pool's model; None while it is unknown.
        is_retiring: Function that returns whether a successor serves, which then owns the file.
    """

    def __init__(
        self,
        context: CacheContext,
        file: Path,
        model: Callable[[], ModelIdentity | None],
        is_retiring: Callable[[], bool],
    ) -> None:
        self._context = context
        self._file = file
        self._model = model
        self._is_retiring = is_retiring
        self._written = 0  # texts that had been computed at the last writing
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read the file in the background, and write it from time to time."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Write the file a last time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._write()

    async def _keep(self) -> None:
        kept = await asyncio.to_thread(read_answers, self._file, self._context.answers.most_bytes)
        if kept is not None:
            await self._restore(kept)
        while True:
            await asyncio.sleep(_WRITE_S)
            await self._write()

    async def _restore(self, kept: KeptAnswers) -> None:
        """Take over the answers of a file, once the pool's model is known and if they are that model's."""
        while (model := self._model()) is None:  # noqa: ASYNC110 - a look costs less than an event in each probe
            await asyncio.sleep(_LOOK_S)
        difference = kept.model.difference(model)
        if difference:
            log.warning("%s has answers of another model, so the cache starts empty: %s", self._file, difference)
            return
        context = self._context
        keys = context.keys = AnswerKeys(kept.secret)
        context.answers.clear()  # they have keys under another secret
        for start in range(0, len(kept.answers), _AT_ONCE):
            if context.keys is not keys:  # the model has just changed
                return
            for key, answer in kept.answers[start : start + _AT_ONCE]:
                context.answers.put(key, answer)
            await asyncio.sleep(0)
        log.info("the cache has %d answers of %s", len(context.answers), self._file)

    async def _write(self) -> None:
        model, context = self._model(), self._context
        if model is None or self._is_retiring() or context.misses == self._written:
            return
        self._written = context.misses
        kept = KeptAnswers(model, context.keys.secret, list(context.answers.items()))
        await asyncio.to_thread(write_answers, self._file, kept)
