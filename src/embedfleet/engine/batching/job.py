"""What one request asked of the model, and where its answer gathers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from embedfleet.arrays import Floats


@dataclass(frozen=True, slots=True)
class Inference:
    """What the model said of the inputs of one request.

    Attributes:
        outputs: per input what was asked of it, in the order asked; see `Output`, of whose rows it has its own.
        queue_s: mean wait per input; 0 for one that was computed already, or being computed.
        inference_s: mean time per input that its forward pass took while this request waited for it.
    """

    outputs: Sequence[tuple[Floats, ...]]
    queue_s: float
    inference_s: float


class Job:
    """The inputs of one request; its future is set once all are answered, or one has failed.

    Every method belongs to whoever holds the queue's lock, but for `finish`, which runs in the loop's thread.
    """

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.done: asyncio.Future[Inference] = loop.create_future()
        self._outputs: list[tuple[Floats, ...] | None] = [None] * size
        self._left = size
        self._queue_s = 0.0
        self._inference_s = 0.0
        self._error: Exception | None = None

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for it any more: it is answered, or was cancelled."""
        return self._error is not None or self.done.done()

    def answer(self, index: int, output: tuple[Floats, ...], *, queue_s: float = 0.0, inference_s: float = 0.0) -> bool:
        """Keep one input's output; whether it was the last."""
        self._outputs[index] = output
        self._queue_s += queue_s
        self._inference_s += inference_s
        self._left -= 1
        return self._left == 0

    def fail(self, error: Exception) -> bool:
        """One input cannot be computed, so the request cannot; whether that is news."""
        is_news = self._error is None
        self._error = self._error or error
        return is_news

    def finish(self) -> None:
        """Hand over what came of it."""
        if self.done.done():
            return
        if self._error is not None:
            self.done.set_exception(self._error)
        else:
            self.done.set_result(self.inference())

    def inference(self) -> Inference:
        """The answers, once all are there."""
        outputs = [output for output in self._outputs if output is not None]
        size = len(self._outputs)
        return Inference(outputs, self._queue_s / size, self._inference_s / size)
