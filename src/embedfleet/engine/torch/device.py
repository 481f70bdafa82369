"""What differs between a GPU and the CPU: copies to and from the device, and recorded passes.

Everything else of the backend is the same code on both. On a GPU there are three streams: one brings the numbers of the
next pass, one computes, one fetches the results of the last pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor as Values
from typing_extensions import override

from embedfleet.arrays import Floats, Integers

Run = Callable[[], Sequence[Values]]
"""A function that computes tensors; the same sizes each time."""
Fetched = Callable[[], list[Floats]]
"""A function that waits for results on their way to the host, and returns them in float32."""

_TRIALS = 2  # runs before a recording, in which libraries choose their kernels


class Device(ABC):
    """A device that computes passes one after another.

    Args:
        device: PyTorch's name of it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @abstractmethod
    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute on this device until the end of the block."""

    @abstractmethod
    def send(self, numbers: Integers) -> Values:
        """Copy numbers to the device; what is computed afterwards may use them."""

    @abstractmethod
    def fetch(self, results: Sequence[Values]) -> Fetched:
        """Begin to copy results to the host; what is computed afterwards may overwrite them."""

    @abstractmethod
    def record(self, run: Run) -> Run:
        """Record a computation, so that running it again costs the host one call.

        The recorded function returns the same tensors each time, with new values.
        """


class CpuDevice(Device):
    """The CPU, where nothing has to be copied or recorded."""

    @override
    @contextmanager
    def computing(self) -> Iterator[None]:
        yield

    @override
    def send(self, numbers: Integers) -> Values:
        return torch.from_numpy(numbers)

    @override
    def fetch(self, results: Sequence[Values]) -> Fetched:
        return lambda: [rows.float().numpy() for rows in results]

    @override
    def record(self, run: Run) -> Run:
        for _ in range(_TRIALS):
            run()
        return run


class CudaDevice(Device):
    """An NVIDIA GPU. This class was not run on one."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._inward, self._compute, self._outward = (_stream(device) for _ in range(3))
        self._pool = torch.cuda.graph_pool_handle()  # memory that all recordings share, as they never run at once

    @override
    @contextmanager
    def computing(self) -> Iterator[None]:
        with torch.cuda.device(self.device), torch.cuda.stream(self._compute):
            yield

    @override
    def send(self, numbers: Integers) -> Values:
        pinned = torch.from_numpy(numbers).pin_memory()
        with torch.cuda.stream(self._inward):
            sent = pinned.to(self.device, non_blocking=True)
        self._compute.wait_stream(self._inward)
        sent.record_stream(self._compute)
        return sent

    @override
    def fetch(self, results: Sequence[Values]) -> Fetched:
        exact = [rows.to(torch.float32, copy=True) for rows in results]  # a recorded pass may overwrite its results
        self._outward.wait_stream(self._compute)
        with torch.cuda.stream(self._outward):
            held = [torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True) for rows in exact]
            for target, rows in zip(held, exact, strict=True):
                target.copy_(rows, non_blocking=True)
                rows.record_stream(self._outward)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._outward)

        def wait() -> list[Floats]:
            done.synchronize()
            return [rows.numpy() for rows in held]

        return wait

    @override
    def record(self, run: Run) -> Run:
        for _ in range(_TRIALS):
            run()
        self._compute.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._compute, capture_error_mode="thread_local"):
            results = run()

        def replay() -> Sequence[Values]:
            graph.replay()
            return results

        return replay


def _stream(device: torch.device) -> torch.cuda.Stream:
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


def open_device(device: torch.device) -> Device:
    """The device of PyTorch's name, which exists."""
    return CpuDevice(device) if device.type == "cpu" else CudaDevice(device)
