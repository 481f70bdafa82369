"""Passes of fixed shapes, recorded once, so that a small pass does not wait for the host to start its many kernels."""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor as Values

from embedfleet.arrays import Integers
from embedfleet.engine.torch.device import Device, Run
from embedfleet.engine.torch.pass_shape import PassShape, find_shape, pack

log = logging.getLogger(__name__)

Compute = Callable[[Values, PassShape], Sequence[Values]]
"""Computes all outputs from the array that `pack` describes, for a shape."""


class ShapeVaries(Exception):
    """The pass has a tensor whose size depends on the lengths of its sequences, so it cannot be recorded."""


class RecordedPasses:
    """Recorded passes of one model by shape.

    Args:
        device: Device that computes them.
        compute: Computation of a pass.

    Attributes:
        shapes: Shapes that are recorded, smallest first.
    """

    def __init__(self, device: Device, compute: Compute) -> None:
        self._device = device
        self._compute = compute
        self._passes: dict[PassShape, tuple[Values, Run]] = {}
        self.shapes: Sequence[PassShape] = ()

    def record(self, shapes: Sequence[PassShape]) -> None:
        """Record a pass of each shape, the largest first, as far as the model and the memory allow; the log says which.

        Args:
            shapes: Shapes, smallest first.
        """
        began = time.perf_counter()
        for shape in reversed(shapes):
            try:
                self._passes[shape] = self._record(shape)
            except ShapeVaries as error:
                log.info("passes are not recorded: %s", error)
                return
            except torch.OutOfMemoryError:
                log.warning(
                    "the memory of %s does not suffice to record a pass of %d tokens; such passes are computed without",
                    *(self._device.device, shape.tokens),
                )
            except RuntimeError as error:
                log.warning("passes are not recorded: PyTorch says: %s", str(error).split("\n", 1)[0])
                self._passes.clear()
                return
        self.shapes = sorted(self._passes, key=lambda shape: shape.tokens)
        if self.shapes:
            log.info(
                "%d passes of up to %d tokens are recorded, in %.1f s",
                *(len(self.shapes), self.shapes[-1].tokens, time.perf_counter() - began),
            )

    def find(self, lengths: Integers) -> PassShape | None:
        """The smallest recorded shape that holds a batch; None if there is none."""
        return find_shape(self.shapes, lengths)

    def run(self, shape: PassShape, numbers: Values) -> Sequence[Values]:
        """Run the recorded pass of a shape.

        Args:
            shape: A recorded shape.
            numbers: Array of `pack` for the shape, on the device.
        """
        held, run = self._passes[shape]
        held.copy_(numbers)
        return run()

    def _record(self, shape: PassShape) -> tuple[Values, Run]:
        """Record a pass; returns the tensor that it reads its numbers from, and the recording."""
        lengths = np.array([shape.longest], np.int64)
        nothing = np.zeros(shape.longest, np.int64)
        held = self._device.send(pack(nothing, nothing, lengths, shape)).clone()
        return held, self._device.record(lambda: self._compute(held, shape))
