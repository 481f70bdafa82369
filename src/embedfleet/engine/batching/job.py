"""One request to the model, and the answers to its inputs."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from embedfleet.arrays import Floats


@dataclass(slots=True)  # making a frozen one takes three times as long
class Inference:
    """The outputs of one request; nothing changes it.

    Attributes:
        outputs: Requested outputs of each input, in the order requested; each array has the shape that `Output`
            describes for one input.
        queue_s: Mean wait per input, in seconds; an input in the cache or already running counts 0.
        inference_s: Mean time per input that this request waited for a running forward pass, in seconds.
    """

    outputs: Sequence[tuple[Floats, ...]]
    queue_s: float
    inference_s: float


class Job:
    """The inputs of one request, with a future that is set once all are answered or one has failed.

    Only the holder of the queue's lock calls its methods, except for `finish`, which runs in the loop's thread.

    Args:
        size: Number of inputs.
        loop: Event loop of the request.

    Attributes:
        loop: Event loop of the request.
        thread: Identifier of the loop's thread.
        done: Future of the answers.
    """

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.done: asyncio.Future[Inference] = loop.create_future()
        self._outputs: list[tuple[Floats, ...] | None] = [None] * size
        self._left = size
        self._queue_s = 0.0
        self._inference_s = 0.0
        self._error: Exception | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the request no longer waits: it is answered, failed or cancelled."""
        return self._error is not None or self.done.done()

    def answer(self, index: int, output: tuple[Floats, ...], *, queue_s: float = 0.0, inference_s: float = 0.0) -> bool:
        """Keep one input's output; returns whether all inputs are answered now."""
        self._outputs[index] = output
        self._queue_s += queue_s
        self._inference_s += inference_s
        self._left -= 1
        return self._left == 0

    def fail(self, error: Exception) -> bool:
        """Fail the request because an input cannot be computed; returns whether this is its first failure."""
        is_first = self._error is None
        self._error = self._error or error
        return is_first

    def finish(self) -> None:
        """Set the future to the answers or the error, unless it is done."""
        if self.done.done():
            return
        if self._error is not None:
            self.done.set_exception(self._error)
        else:
            self.done.set_result(self.inference())

    def inference(self) -> Inference:
        """The outputs and mean times of the request; only valid once all inputs are answered."""
        outputs = [output for output in self._outputs if output is not None]
        size = len(outputs)
        return Inference(outputs, self._queue_s / size, self._inference_s / size)
