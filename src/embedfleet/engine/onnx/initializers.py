"""The tensors of a graph: where each lies among the others, and how they come to the runtime."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from embedfleet.engine.files.tensor import Tensor

Values = np.ndarray[Any, np.dtype[Any]]

_ALIGNMENT = 64  # bytes, a processor's widest register


class Initializers:
    """Tensors by name: those of a model's files, which are read when they are asked for, and those made of them."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[int, Tensor | Values]] = {}
        self.size_bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    def add(self, name: str, source: Tensor | Values) -> tuple[int, int]:
        """Take a tensor in.

        Returns:
            Where it begins in the file that `write` makes, and its length, in bytes.
        """
        start = -(-self.size_bytes // _ALIGNMENT) * _ALIGNMENT
        length = 4 * prod(source.shape) if isinstance(source, Tensor) else source.nbytes
        self._sources[name] = start, source
        self.size_bytes = start + length
        return start, length

    def values(self) -> dict[str, Values]:
        """All of them in memory of our own.

        Raises:
            ModelError: as `Tensor.read`.
        """
        return {
            name: source.read() if isinstance(source, Tensor) else source for name, (_, source) in self._sources.items()
        }

    def write(self, file: Path) -> None:
        """All of them into a file of our own, a piece at a time.

        Raises:
            ModelError: as `Tensor.read`.
            OSError: it cannot be written.
        """
        with file.open("xb", buffering=0) as stream:
            for start, source in self._sources.values():
                stream.seek(start)
                for piece in _pieces(source):
                    room = piece.data.cast("B")
                    while room:
                        room = room[stream.write(room) :]
            stream.truncate(self.size_bytes)  # the last may be empty


def _pieces(source: Tensor | Values) -> Iterator[Values]:
    if isinstance(source, Tensor):
        yield from source.pieces()
    elif source.size:
        yield source.reshape(-1)
