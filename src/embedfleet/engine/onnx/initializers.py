"""The tensors of a graph: their places in one file, and the ways to give them to the runtime."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from embedfleet.engine.files.tensor import Tensor

Values = np.ndarray[Any, np.dtype[Any]]

_ALIGNMENT = 64  # bytes, the width of a processor's widest register


class Initializers:
    """A graph's tensors by name.

    Tensors of a model's files are read only when their values are needed; computed ones are kept in memory.

    Attributes:
        size_bytes: Size of the file that `write` makes, in bytes.
    """

    def __init__(self) -> None:
        self._sources: dict[str, tuple[int, Tensor | Values]] = {}
        self.size_bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    def add(self, name: str, source: Tensor | Values) -> tuple[int, int]:
        """Add a tensor.

        Returns:
            Start of the tensor in the file that `write` makes, and its length, in bytes.
        """
        start = -(-self.size_bytes // _ALIGNMENT) * _ALIGNMENT
        length = 4 * prod(source.shape) if isinstance(source, Tensor) else source.nbytes
        self._sources[name] = start, source
        self.size_bytes = start + length
        return start, length

    def values(self) -> dict[str, Values]:
        """Read all tensors into this process' own memory.

        Raises:
            ModelError: A tensor cannot be read, or has a number that is not finite.
        """
        return {
            name: source.read() if isinstance(source, Tensor) else source for name, (_, source) in self._sources.items()
        }

    def write(self, file: Path) -> None:
        """Write all tensors to a new file, piece by piece.

        Raises:
            ModelError: A tensor cannot be read, or has a number that is not finite.
            OSError: The file cannot be written.
        """
        with file.open("xb", buffering=0) as stream:
            for start, source in self._sources.values():
                stream.seek(start)
                for piece in _pieces(source):
                    room = piece.data.cast("B")
                    while room:
                        room = room[stream.write(room) :]
            stream.truncate(self.size_bytes)  # the last tensor may be empty


def _pieces(source: Tensor | Values) -> Iterator[Values]:
    if isinstance(source, Tensor):
        yield from source.pieces()
    elif source.size:
        yield source.reshape(-1)
