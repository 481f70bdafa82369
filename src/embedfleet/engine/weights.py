"""A safetensors file: what is in it and where, without reading it.

Format: 8 bytes little-endian length, that many bytes of JSON header, then the tensors; offsets count from the end of
the header (safetensors 0.x, README "Format"). We need the offsets themselves, so that ONNX Runtime maps the file and
replicas on one host share its pages; the safetensors package does not give them.
"""

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedfleet.dialects.tei import Floats
from embedfleet.errors import ModelError

_SIZES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's place; ``start`` counts from the beginning of the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int

    @property
    def is_mappable(self) -> bool:
        """Whether the bytes on disk are what the graph computes with, aligned."""
        return self.dtype == "F32" and self.start % 4 == 0


class Weights:
    """The tensors of one file.

    Args:
        file: a ``model.safetensors``.
        anchor: a tensor that every model of the family has, by its name in the body. A model saved with its task's
            head has its body under a prefix, which is what stands before this name.

    Raises:
        ModelError: the file is truncated, corrupt or of unknown number types.
    """

    def __init__(self, file: Path, anchor: str) -> None:
        self.file = file
        self._tensors = _read_header(file)
        self._prefix = _prefix(self._tensors, anchor)

    def has(self, name: str) -> bool:
        """Whether there is a tensor of that full name."""
        return name in self._tensors

    def body(self, name: str, *shape: int) -> Tensor:
        """A tensor of the transformer itself, by its name without the model's prefix.

        Raises:
            ModelError: it is missing, or not of ``shape``.
        """
        return self.head(self._prefix + name, *shape)

    def head(self, name: str, *shape: int) -> Tensor:
        """A tensor by its full name.

        Raises:
            ModelError: it is missing, or not of ``shape``.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ModelError(f"{self.file}: tensor {name} is missing")
        if tensor.shape != shape:
            raise ModelError(
                f"{self.file}: tensor {name} has shape {list(tensor.shape)}, config.json asks for {list(shape)}",
                "the weights and config.json belong to different models",
            )
        if tensor.dtype not in _SIZES:
            raise ModelError(f"{self.file}: tensor {name} is of type {tensor.dtype}", f"supported: {', '.join(_SIZES)}")
        return tensor

    def read(self, tensor: Tensor) -> Floats:
        """The tensor in float32; exact, since fp16 and bf16 are subsets of it."""
        count = tensor.size_bytes // _SIZES[tensor.dtype]
        raw = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[tensor.dtype]
        values = np.fromfile(tensor.file, dtype=raw, count=count, offset=tensor.start)
        if tensor.dtype == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32, copy=False).reshape(tensor.shape)


def _prefix(names: Iterable[str], anchor: str) -> str:
    """What stands before the anchor; of several the shortest, for a head may have a small body of its own."""
    found = [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]
    return min(found, key=len, default="")


def _read_header(file: Path) -> dict[str, Tensor]:
    total = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, total)))
        header.pop("__metadata__", None)
        tensors = {name: _tensor(file, name, entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(f"{file} is not a safetensors file: {error}") from error
    end = max((tensor.start + tensor.size_bytes for tensor in tensors.values()), default=0)
    if end > total:
        raise ModelError(f"{file} is truncated: {total} bytes of {end}", "copy or download the file again")
    return tensors


def _tensor(file: Path, name: str, entry: dict[str, object], base: int) -> Tensor:
    offsets, shape, dtype = entry["data_offsets"], entry["shape"], str(entry["dtype"])
    if not isinstance(offsets, list) or not isinstance(shape, list):
        raise TypeError(f"tensor {name} has no place")
    start, end = (int(offset) for offset in offsets)
    dimensions = tuple(int(dimension) for dimension in shape)
    if dtype in _SIZES and end - start != int(np.prod(dimensions, dtype=np.int64)) * _SIZES[dtype]:
        raise ValueError(f"tensor {name} of shape {list(dimensions)} has {end - start} bytes")
    return Tensor(file, name, dtype, dimensions, base + start, end - start)
