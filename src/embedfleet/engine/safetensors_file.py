"""A safetensors file: what is in it and where, without reading it.

Format: 8 bytes little-endian length, that many bytes of JSON header, then the tensors; offsets count from the end of
the header (safetensors 0.x, README "Format"). We need the offsets themselves, so that ONNX Runtime maps the file and
replicas on one host share its pages; the safetensors package does not give them.
"""

import json
import struct
from math import prod
from pathlib import Path

from embedfleet.engine.tensor import SIZES, Tensor
from embedfleet.errors import ModelError


def read_safetensors_file(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names.

    Raises:
        ModelError: it is truncated or corrupt.
    """
    total = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, total)))
        header.pop("__metadata__", None)
        tensors = {name: _tensor(file, name, entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, struct.error) as error:
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
    if start < 0 or end < start or any(dimension < 0 for dimension in dimensions):
        raise ValueError(f"tensor {name} of shape {list(dimensions)} lies from {start} to {end}")
    if dtype in SIZES and end - start != prod(dimensions) * SIZES[dtype]:
        raise ValueError(f"tensor {name} of shape {list(dimensions)} has {end - start} bytes")
    return Tensor(file, name, dtype, dimensions, base + start, end - start)
