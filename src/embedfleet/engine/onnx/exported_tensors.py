"""The tensors of an exported ONNX file: their check, and the reading of those that are in separate files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from embedfleet.errors import ModelError
from embedfleet.model_folder.file import check_file

Values = np.ndarray[Any, np.dtype[Any]]

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
_HANDED_OVER = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT8, TensorProto.UINT8}
_AGAIN = "copy or download the file again"


@dataclass(frozen=True, slots=True)
class ExportedTensors:
    """An exported model as a session takes it.

    Attributes:
        model: Path of the file, or its content if tensors from other files had to be put into it.
        values: Tensors from other files that the session takes separately, by name.
    """

    model: str | bytes
    values: dict[str, Values]


def read_exported_tensors(file: Path) -> ExportedTensors:
    """Check a file's tensors, and read those that are in separate files.

    Nothing is mapped, so later changes of those files have no effect.

    Raises:
        ModelError: A file is missing, corrupt or too short, or a weight is NaN or infinite. Negative infinity is
            allowed: exporters use it in masks.
    """
    try:
        model = onnx.load_model(str(file), load_external_data=False)
    except Exception as error:  # protobuf has error types of its own
        raise ModelError(f"{file} is not an ONNX file: {error}", _AGAIN) from error
    values: dict[str, Values] = {}
    is_changed = False
    used = set(_inputs(model.graph))
    for tensor in model.graph.initializer:
        if _is_outside(tensor) and tensor.data_type in _HANDED_OVER and 0 not in tensor.dims:
            values[tensor.name] = _read(file, tensor)
        elif _is_outside(tensor):
            _take_in(file, tensor)
            is_changed = True
        if tensor.name in used:
            _check(file, tensor, values.get(tensor.name))
    for tensor in _inner(model.graph):
        if _is_outside(tensor):
            _take_in(file, tensor)
            is_changed = True
        _check(file, tensor, None)
    return ExportedTensors(model.SerializeToString() if is_changed else str(file), values)


def _is_outside(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def _inputs(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of all inputs of nodes, those in branches included, and of the graph's outputs."""
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for inner in _graphs(node):
            yield from _inputs(inner)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _inner(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Tensors that are attributes of nodes, or belong to branches."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in _graphs(node):
            yield from inner.initializer
            yield from _inner(inner)


def _bytes(file: Path, tensor: TensorProto) -> bytes:
    """Read the bytes of a tensor that is in a separate file.

    Raises:
        ModelError: The file is not in the model's folder, cannot be read, or is too short.
    """
    where = {entry.key: entry.value for entry in tensor.external_data}
    name = PurePosixPath(where.get("location", ""))
    if not name.name or name.is_absolute() or ".." in name.parts:
        raise ModelError(f"{file} has tensor {tensor.name} in {str(name)!r}, which is not in its folder")
    source = file.parent / name
    check_file(source, f"{file.name} has its tensors there: copy or download the whole folder")
    try:
        start, length = int(where.get("offset", 0)), int(where.get("length", -1))
        with source.open("rb") as stream:
            stream.seek(start)
            data = stream.read(length)
    except (ValueError, OverflowError, MemoryError) as error:
        raise ModelError(f"{file} gives no valid place for tensor {tensor.name}: {where}", _AGAIN) from error
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror or error}") from error
    if len(data) < length:
        raise ModelError(f"{source} is truncated: it has {len(data)} of {length} bytes of {tensor.name}", _AGAIN)
    return data


def _read(file: Path, tensor: TensorProto) -> Values:
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    data = np.frombuffer(_bytes(file, tensor), dtype=np.uint8)
    try:
        return data.view(dtype).reshape(tuple(tensor.dims))
    except ValueError as error:
        raise ModelError(
            f"{file}: tensor {tensor.name} of shape {list(tensor.dims)} has {len(data)} bytes", _AGAIN
        ) from error


def _take_in(file: Path, tensor: TensorProto) -> None:
    """Move a tensor from its file into the model."""
    tensor.raw_data = _bytes(file, tensor)
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")


def _check(file: Path, tensor: TensorProto, values: Values | None) -> None:
    """Check that a tensor's numbers can be weights or a mask.

    Raises:
        ModelError: A number is NaN or positive infinity, or the tensor cannot be read.
    """
    if tensor.data_type not in _FLOATS:
        return
    try:
        numbers = numpy_helper.to_array(tensor) if values is None else values
        numbers = numbers.reshape(-1)
        greatest = numbers.max(initial=-np.inf)  # NaN if any number is
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file}: tensor {tensor.name} cannot be read: {error}", _AGAIN) from error
    if np.isnan(greatest) or np.isposinf(greatest):
        raise ModelError(
            f"{file}: tensor {tensor.name} has the number {greatest}; a weight must be finite",
            "copy or download the file again; if the model was trained that way, use another checkpoint",
        )
