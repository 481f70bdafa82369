"""Tensors of a safetensors file, located without reading their numbers.

Format: the length of the header in 8 little-endian bytes, the header in JSON, then the tensors; offsets count from the
end of the header (safetensors 0.x, README "Format"). The safetensors package does not give the offsets. We need them to
read each tensor in pieces, without mapping the file.
"""

import json
import struct
from itertools import pairwise
from math import prod
from pathlib import Path

from embedfleet.engine.files.tensor import SIZES, Tensor
from embedfleet.errors import ModelError
from embedfleet.model_folder.file import check_file

_LONGEST_HEADER = 100_000_000  # bytes; safetensors has the same limit


def read_safetensors_file(file: Path) -> dict[str, Tensor]:
    """Locate the tensors of a file, by name.

    Raises:
        ModelError: The file is truncated or corrupt.
    """
    check_file(file)
    total = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(_header(stream.read(min(length, _LONGEST_HEADER)), length))
        header.pop("__metadata__", None)
        tensors = {name: _tensor(file, name, entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, struct.error) as error:
        raise ModelError(
            f"{file} is not a safetensors file: {type(error).__name__}: {error}", "copy or download it again"
        ) from error
    _check_offsets(file, total, tensors)
    return tensors


def _header(data: bytes, length: int) -> bytes:
    if len(data) < length:
        raise ValueError(f"only {len(data)} of the header's {length} bytes are there")
    return data


def _tensor(file: Path, name: str, entry: dict[str, object], base: int) -> Tensor:
    dtype, shape = str(entry["dtype"]), _whole_numbers(name, entry["shape"])
    start, end = _whole_numbers(name, entry["data_offsets"])
    if end < start or (dtype in SIZES and end - start != prod(shape) * SIZES[dtype]):
        raise ValueError(f"tensor {name} of {dtype} {list(shape)} has the bytes {start} to {end}")
    return Tensor(file, name, dtype, shape, base + start, end - start)


def _whole_numbers(name: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise TypeError(f"the shape or offsets of tensor {name} are not lists of whole numbers")
    return tuple(values)


def _check_offsets(file: Path, total: int, tensors: dict[str, Tensor]) -> None:
    """Check that the tensors lie within the file and do not overlap.

    Raises:
        ModelError: A tensor ends beyond the file, or two tensors overlap.
    """
    order = sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.size_bytes))
    end = max((tensor.start + tensor.size_bytes for tensor in order), default=0)
    if end > total:
        raise ModelError(f"{file} is truncated: {total} bytes of {end}", "copy or download the file again")
    for one, other in pairwise(order):
        if one.start + one.size_bytes > other.start:
            raise ModelError(
                f"{file} is corrupt: tensors {one.name} and {other.name} overlap", "copy or download the file again"
            )
