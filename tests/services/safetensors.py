"""Safetensors files of zeros."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path


def write_shapes(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write float32 zeros of these shapes."""
    at, rows = 0, {}
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        rows[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(rows).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head + bytes(at))
