"""A file that ``torch.save`` wrote: what is in it and where, without torch and without running anything in it.

Format: a zip archive whose members are stored as they are (torch/csrc/jit/serialization, PyTorch 1.6 and later).
``*/data.pkl`` is a pickle of a dict of tensors, each of which refers to a storage by its number; ``*/data/NUMBER`` is
that storage, plain numbers in the machine's order.

A pickle is a program. This one may name only what rebuilds a tensor, which is done here, and ordered dicts; a file that
names anything else is refused before that is looked up.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from struct import unpack
from typing import Any

from embedfleet.engine.tensor import SIZES, Tensor
from embedfleet.errors import ModelError

_STORAGES = {"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64"}
_LEGACY = b"\x80"  # a bare pickle, as PyTorch before 1.6 wrote it
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers of one type, by the member that holds them."""

    key: str
    dtype: str


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor: a part of a storage, in order; numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]


def read_pickle_file(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names.

    Raises:
        ModelError: it is truncated, corrupt, of the old format, or holds anything but tensors.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(info.filename for info in archive.infolist() if info.filename.endswith("/data.pkl"))
            values = _Reader(file, archive.read(name)).load()
            tensors = {key: value for key, value in values.items() if isinstance(value, _View)}
            places = _places(file, archive, name.removesuffix("data.pkl"))
        return {key: _tensor(file, key, view, places) for key, view in tensors.items()}
    except (zipfile.BadZipFile, StopIteration) as error:
        with file.open("rb") as stream:
            is_legacy = stream.read(1) == _LEGACY
        if is_legacy:
            raise ModelError(
                f"{file} is in the format of PyTorch before 1.6, which is not read",
                "load it in PyTorch and save it again, best as model.safetensors",
            ) from error
        raise ModelError(f"{file} is not a file that torch.save wrote: {error}", "copy or download it again") from error
    except ModelError:
        raise
    except Exception as error:  # a broken pickle raises whatever it comes to
        raise ModelError(f"{file} cannot be read: {error!r}", "copy or download it again") from error


class _Reader(pickle.Unpickler):
    """Reads the dict of tensors; knows a handful of names and no others."""

    def __init__(self, file: Path, data: bytes) -> None:
        super().__init__(BytesIO(data), encoding="utf-8")
        self._file = file

    def load(self) -> dict[str, object]:
        """The dict.

        Raises:
            ModelError: it is none, or names what does not belong to tensors.
        """
        values = super().load()
        if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
            values = values["state_dict"]
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise ModelError(f"{self._file} holds no dict of tensors but a {type(values).__name__}")
        return values

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - classes and functions
        """What a name stands for."""
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        found = _KNOWN.get((module, name))
        if found is None:
            raise ModelError(
                f"{self._file} names {module}.{name}, which is no part of a tensor",
                "the file was not loaded, and nothing of it was run; ask for the model's safetensors",
            )
        return found

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401 - what the file says
        """A storage: ``("storage", type, number, device, length)``."""
        kind, dtype, key, _, _ = pid
        if kind != "storage" or not isinstance(dtype, str):
            raise ModelError(f"{self._file} refers to {pid!r}, which is no storage of numbers")
        return _Storage(str(key), dtype)


def _rebuild_tensor(storage: _Storage, offset: int, shape: Sequence[int], stride: Sequence[int], *_: object) -> _View:
    steps = [prod(shape[place + 1 :]) for place in range(len(shape))]
    if any(length != 1 and step != want for length, step, want in zip(shape, stride, steps, strict=True)):
        raise ModelError(f"a tensor of shape {list(shape)} lies in steps of {list(stride)}: it is not in order")
    return _View(storage, int(offset), tuple(map(int, shape)))


def _rebuild_parameter(view: _View, *_: object) -> _View:
    return view


_KNOWN: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("collections", "OrderedDict"): OrderedDict,
}


def _places(file: Path, archive: zipfile.ZipFile, folder: str) -> dict[str, tuple[int, int]]:
    """Where each storage begins in the file, and its bytes."""
    places = {}
    with file.open("rb") as stream:
        for info in archive.infolist():
            if not info.filename.startswith(f"{folder}data/"):
                continue
            if info.compress_type != zipfile.ZIP_STORED:
                raise ModelError(f"{file}: {info.filename} is compressed", "save the model again with torch.save")
            stream.seek(info.header_offset + _LOCAL_HEADER - 4)
            name, extra = unpack("<HH", stream.read(4))
            start = info.header_offset + _LOCAL_HEADER + name + extra
            places[info.filename.removeprefix(f"{folder}data/")] = start, info.file_size
    return places


def _tensor(file: Path, name: str, view: _View, places: dict[str, tuple[int, int]]) -> Tensor:
    start, size = places[view.storage.key]
    width = SIZES[view.storage.dtype]
    begins, length = view.offset * width, prod(view.shape) * width
    if begins < 0 or length < 0 or begins + length > size:
        raise ModelError(f"{file}: tensor {name} needs {begins + length} bytes of a storage that has {size}")
    return Tensor(file, name, view.storage.dtype, view.shape, start + begins, length)
