"""Seeded tensors of a model, and their files as bytes.

Files of safetensors and of PyTorch are made without these libraries.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import compute_outputs, outputs_of
from embedfleet.engine.files.tensor import Tensor, contiguous_strides
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.model_folder.file_names import COLBERT_LINEAR, SPARSE_LINEAR

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]
_ALIGNED = 64
_BESIDE = {Output.LEXICAL, Output.COLBERT}  # outputs whose tensors are in separate files


def tensors_of(spec: ModelSpec, seed: int = 0) -> dict[str, Array]:
    """Random tensors with all names and shapes that the engine reads, float32."""
    wanted = _Wanted()
    compute_outputs(spec, _Blind(), wanted, [output for output in outputs_of(spec) if output not in _BESIDE])
    chance = np.random.default_rng(seed)
    return {name: chance.standard_normal(shape, np.float32) * np.float32(0.1) for name, shape in wanted.found.items()}


class _Wanted(Weights):
    """Weights that provide every tensor that is read, have no optional ones, and record names and shapes."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, ...]] = {}

    def has(self, name: str) -> bool:  # noqa: ARG002 - no optional tensor
        return False

    def has_in_body(self, name: str) -> bool:  # noqa: ARG002
        return False

    def body(self, name: str, *shape: int) -> Tensor:
        return self.head(name, *shape)

    def head(self, name: str, *shape: int) -> Tensor:
        self.found[name] = shape
        return Tensor(Path(), name, "F32", shape, 0, 0)


class _Blind:
    """Operations that compute nothing, to record the tensors that `compute_outputs` reads."""

    ids = types = positions = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == "split":
            return lambda _, widths: (0,) * len(widths)
        return lambda *_, **__: 0


def safetensors(tensors: Tensors, dtype: str = "F32") -> bytes:
    """A safetensors file, in F32, F16 or BF16."""
    header, data = {}, b""
    for name, values in tensors.items():
        raw = _numbers(values, dtype)
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def _numbers(values: Array, dtype: str) -> bytes:
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    if dtype == "BF16":  # the upper half of a float32
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype("<f4").tobytes()


def pickled(tensors: Tensors) -> bytes:
    """A file like that of ``torch.save`` for a float32 state dict."""
    program = b"\x80\x02}("
    for key, (name, values) in enumerate(tensors.items()):
        program += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        program += _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(key)) + _text("cpu") + _whole(values.size)
        program += b"tQ" + _whole(0) + _tuple(values.shape) + _tuple(contiguous_strides(values.shape))
        program += b"\x89ccollections\nOrderedDict\n)RtR"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        _store(archive, "archive/data.pkl", program + b"u.")
        _store(archive, "archive/byteorder", b"little")
        for key, values in enumerate(tensors.values()):
            _store(archive, f"archive/data/{key}", values.astype("<f4").tobytes())
        _store(archive, "archive/version", b"3\n")
    return stream.getvalue()


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _whole(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _tuple(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_whole, numbers)) + b"t"


def _store(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Store a member whose content begins at a multiple of 64 bytes."""
    info = zipfile.ZipInfo(name)
    start = archive.start_dir + 30 + len(name) + 4
    room = -start % _ALIGNED
    info.extra = struct.pack("<HH", 0x4246, room) + bytes(room)
    archive.writestr(info, data)


def shards(tensors: Tensors, stem: str, suffix: str, write: Callable[[Tensors], bytes]) -> dict[str, bytes]:
    """Two files and the index of their tensors."""
    names = list(tensors)
    middle = len(names) // 2
    files: dict[str, bytes] = {}
    places: dict[str, str] = {}
    for number, part in enumerate((names[:middle], names[middle:]), 1):
        file = f"{stem}-{number:05}-of-00002.{suffix}"
        files[file] = write({name: tensors[name] for name in part})
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(map(len, files.values()))}, "weight_map": places}
    return files | {f"{stem}.{suffix}.index.json": json.dumps(index).encode()}


def m3_heads(width: int, seed: int = 1) -> dict[str, bytes]:
    """The files of bge-m3's two further heads."""
    chance = np.random.default_rng(seed)

    def head(rows: int) -> bytes:
        return pickled({"weight": chance.standard_normal((rows, width), np.float32), "bias": np.ones(rows, np.float32)})

    return {SPARSE_LINEAR: head(1), COLBERT_LINEAR: head(width)}


def onnx_pass(vocabulary: int, width: int, seed: int = 2) -> bytes:
    """An ONNX file with an exported model's inputs and output: rows of the word table, 0 for masked tokens."""
    table = np.random.default_rng(seed).standard_normal((vocabulary, width)).astype(np.float32)
    whole, shape = TensorProto.INT64, ["batch", "length"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
            helper.make_node("Mul", ["rows", "wide"], ["last_hidden_state"]),
        ],
        "pass",
        [helper.make_tensor_value_info(name, whole, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, width])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([2]), "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    assert isinstance(model, onnx.ModelProto)
    return bytes(model.SerializeToString())
