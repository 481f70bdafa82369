"""A file that ``torch.save`` wrote: what is in it and where, without torch and without running anything in it.

Format: a zip archive whose members are stored as they are (torch/csrc/jit/serialization, PyTorch 1.6 and later).
``*/data.pkl`` is a pickle of a dict of tensors, each of which refers to a storage by its number; ``*/data/NUMBER`` is
that storage, plain numbers in the machine's order, which begin at a multiple of 64 bytes and so can be mapped.

A pickle may name only what rebuilds a tensor, which is done here, and ordered dicts; a file that names anything else is
refused before that is looked up. See `engine.files.pickle_program`.
"""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import unpack

from embedfleet.engine.files.pickle_program import ForeignName, Name, PickleError, PickleProgram
from embedfleet.engine.files.tensor import Tensor, steps_in_order
from embedfleet.errors import ModelError
from embedfleet.model_folder.file import check_file

# torch's storages → the types as safetensors names them, and bytes of a number.
_STORAGES = {
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "DoubleStorage": ("F64", 8),
    # Not weights, but some models save the numbers of their positions beside them.
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}
_LEGACY = b"\x80"  # a bare pickle, as PyTorch before 1.6 wrote it
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name
_AGAIN = "copy or download it again"


@dataclass(frozen=True, slots=True)
class _Type:
    dtype: str
    width: int


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers of one type, by the member that holds them."""

    key: str
    type: _Type


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor: a part of a storage; ``offset`` and ``steps`` count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def span(self) -> int:
        """From the first number to behind the last."""
        if not prod(self.shape):
            return 0
        return 1 + sum((length - 1) * step for length, step in zip(self.shape, self.steps, strict=True))


def read_pickle_file(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names.

    Raises:
        ModelError: it is truncated, corrupt, of the old format, or holds anything but tensors.
    """
    check_file(file)
    try:
        with zipfile.ZipFile(file) as archive:
            folder, data = _program(file, archive)
            values = _run(file, data)
            places = _places(file, archive, f"{folder}data/")
        return {key: _tensor(file, key, value, places) for key, value in values.items() if isinstance(value, _View)}
    except zipfile.BadZipFile as error:
        raise _no_archive(file, error) from error
    except ModelError:
        raise
    except Exception as error:  # a broken archive raises whatever it comes to
        raise ModelError(f"{file} cannot be read: {type(error).__name__}: {error}", _AGAIN) from error


def _no_archive(file: Path, error: Exception) -> ModelError:
    with file.open("rb") as stream:
        is_legacy = stream.read(1) == _LEGACY
    if is_legacy:
        return ModelError(
            f"{file} is in the format of PyTorch before 1.6, which is not read",
            "load it in PyTorch and save it again, best as model.safetensors",
        )
    return ModelError(f"{file} is not a file that torch.save wrote: {error}", _AGAIN)


def _program(file: Path, archive: zipfile.ZipFile) -> tuple[str, bytes]:
    """The archive's folder, and the pickle in it."""
    info = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
    if info is None:
        raise ModelError(f"{file} is not a file that torch.save wrote: it has no data.pkl", _AGAIN)
    _check_stored(file, info)
    folder = info.filename.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist():
        _check_stored(file, archive.getinfo(order))
        if archive.read(order) != b"little":
            raise ModelError(f"{file} was written on a big-endian machine", "ask for the model's safetensors")
    return folder, archive.read(info)


def _check_stored(file: Path, info: zipfile.ZipInfo) -> None:
    """What is compressed could be of any size once it is not; torch.save compresses nothing."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ModelError(f"{file}: {info.filename} is compressed", "save the model again with torch.save")


def _run(file: Path, data: bytes) -> dict[str, object]:
    """The dict of tensors that the pickle makes."""
    try:
        values = PickleProgram(_NAMES, _storage).run(data)
    except ForeignName as error:
        raise ModelError(
            f"{file} names {error.name}, which is no part of a tensor",
            "the file was not loaded, and nothing of it was run; ask for the model's safetensors",
        ) from error
    except PickleError as error:
        raise ModelError(f"{file} cannot be read: {error}", _AGAIN) from error
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]
    if not isinstance(values, dict):
        raise ModelError(f"{file} holds no dict of tensors but a {type(values).__name__}")
    return values


def _storage(reference: object) -> _Storage:
    """A storage: ``("storage", type, number, device, length)``."""
    if isinstance(reference, tuple) and len(reference) == 5 and reference[0] == "storage":
        _, kind, key, _, _ = reference
        if isinstance(kind, _Type) and isinstance(key, str):
            return _Storage(key, kind)
    raise PickleError("it refers to something that is no storage of numbers")


def _ordered_dict(*arguments: object) -> dict[str, object]:
    if arguments:
        raise PickleError("it has an ordered dict that is not made empty")
    return {}


def _rebuild_tensor(storage: object, offset: object, shape: object, steps: object, *_: object) -> _View:
    lengths, strides = _whole(shape), _whole(steps)
    if not isinstance(storage, _Storage) or len(lengths) != len(strides):
        raise PickleError("it has a tensor without a storage, or of two shapes")
    view = _View(storage, _whole((offset,))[0], lengths, strides)
    if prod(lengths) > view.span:
        raise PickleError(f"it has a tensor of shape {list(lengths)[:8]} whose parts overlap")
    return view


def _whole(numbers: object) -> tuple[int, ...]:
    if not isinstance(numbers, tuple) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise PickleError("it has a tensor whose shape is not of whole numbers")
    return numbers


def _rebuild_parameter(view: object, *_: object) -> object:
    return view


_NAMES: dict[Name, object] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("collections", "OrderedDict"): _ordered_dict,
    **{("torch", name): _Type(*kind) for name, kind in _STORAGES.items()},
}


def _places(file: Path, archive: zipfile.ZipFile, folder: str) -> dict[str, tuple[int, int]]:
    """Where each storage begins in the file, and its bytes."""
    places = {}
    total = file.stat().st_size
    with file.open("rb") as stream:
        for info in _members(archive, folder):
            _check_stored(file, info)
            stream.seek(info.header_offset + _LOCAL_HEADER - 4)
            name, extra = unpack("<HH", stream.read(4))
            start = info.header_offset + _LOCAL_HEADER + name + extra
            if start + info.file_size > total:
                raise ModelError(f"{file} is truncated: {total} bytes of {start + info.file_size}", _AGAIN)
            places[info.filename.removeprefix(folder)] = start, info.file_size
    return places


def _members(archive: zipfile.ZipFile, folder: str) -> Iterable[zipfile.ZipInfo]:
    return (info for info in archive.infolist() if info.filename.startswith(folder))


def _tensor(file: Path, name: str, view: _View, places: dict[str, tuple[int, int]]) -> Tensor:
    if view.storage.key not in places:
        raise ModelError(f"{file}: tensor {name} has no storage", _AGAIN)
    start, size = places[view.storage.key]
    width = view.storage.type.width
    begins, length = view.offset * width, view.span * width
    if begins + length > size:
        raise ModelError(f"{file}: tensor {name} needs {begins + length} bytes of a storage that has {size}", _AGAIN)
    steps = () if _lies_in_order(view) else view.steps
    return Tensor(file, name, view.storage.type.dtype, view.shape, start + begins, length, steps)


def _lies_in_order(view: _View) -> bool:
    wanted = steps_in_order(view.shape)
    return not prod(view.shape) or all(
        length == 1 or step == want for length, step, want in zip(view.shape, view.steps, wanted, strict=True)
    )
