"""Tensors of a file that ``torch.save`` wrote, located without torch and without running code from the file.

Format: a zip archive with uncompressed members (torch/csrc/jit/serialization, PyTorch 1.6 and later). ``*/data.pkl`` is
a pickle of a dict of tensors; each tensor refers to a storage by number. ``*/data/NUMBER`` is that storage: numbers in
the machine's byte order, aligned to 64 bytes, so that they can be mapped.

The pickle may name only the functions that rebuild a tensor, which are implemented here, and ordered dicts. A file that
names anything else is refused before the name is looked up (`engine.files.safe_unpickler`).
"""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import unpack

from embedfleet.engine.files.safe_unpickler import ForeignName, Name, PickleError, SafeUnpickler
from embedfleet.engine.files.tensor import Tensor, contiguous_strides
from embedfleet.errors import ModelError
from embedfleet.model_folder.file import check_file

# Storage classes of torch → type in safetensors' naming, and bytes per number.
_STORAGES = {
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "DoubleStorage": ("F64", 8),
    # Not weights, but some models save their position ids with them.
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
    """Type of a storage's numbers, in safetensors' naming, and bytes per number."""

    dtype: str
    width: int


@dataclass(frozen=True, slots=True)
class _Storage:
    """A member of the archive that holds numbers of one type."""

    key: str
    type: _Type


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as a view of a storage.

    Attributes:
        storage: Storage of its numbers.
        offset: Index of its first number in the storage.
        shape: Shape of the tensor.
        strides: Count of numbers from one index to the next, per dimension.
    """

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """Count of the storage's numbers from the tensor's first one through its last."""
        if not prod(self.shape):
            return 0
        return 1 + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))


def read_pickle_file(file: Path) -> dict[str, Tensor]:
    """Locate the tensors of a file, by name.

    Raises:
        ModelError: The file is truncated, corrupt, in the old format, or names anything that tensors do not need.
    """
    check_file(file)
    try:
        with zipfile.ZipFile(file) as archive:
            folder, data = _read_pickle(file, archive)
            values = _unpickle(file, data)
            storages = _storage_places(file, archive, f"{folder}data/")
        return {key: _tensor(file, key, value, storages) for key, value in values.items() if isinstance(value, _View)}
    except zipfile.BadZipFile as error:
        raise _no_archive(file, error) from error
    except ModelError:
        raise
    except Exception as error:  # a broken archive can raise anything
        raise ModelError(f"{file} cannot be read: {type(error).__name__}: {error}", _AGAIN) from error


def _no_archive(file: Path, error: Exception) -> ModelError:
    with file.open("rb") as stream:
        is_legacy = stream.read(1) == _LEGACY
    if is_legacy:
        return ModelError(
            f"{file} is in the format of PyTorch before 1.6, which is not supported",
            "load it in PyTorch and save it again, preferably as model.safetensors",
        )
    return ModelError(f"{file} is not a file that torch.save wrote: {error}", _AGAIN)


def _read_pickle(file: Path, archive: zipfile.ZipFile) -> tuple[str, bytes]:
    """Read the name of the archive's folder, and its pickle."""
    info = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
    if info is None:
        raise ModelError(f"{file} is not a file that torch.save wrote: it has no data.pkl", _AGAIN)
    _check_stored(file, info)
    folder = info.filename.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist():
        _check_stored(file, archive.getinfo(order))
        if archive.read(order) != b"little":
            raise ModelError(f"{file} was written on a big-endian machine", "use the model's safetensors file")
    return folder, archive.read(info)


def _check_stored(file: Path, info: zipfile.ZipInfo) -> None:
    """Refuse a compressed member, which could expand to any size; torch.save compresses nothing."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ModelError(f"{file}: {info.filename} is compressed", "save the model again with torch.save")


def _unpickle(file: Path, data: bytes) -> dict[str, object]:
    """Load the pickle's dict of tensors."""
    try:
        values = SafeUnpickler(_NAMES, _storage).run(data)
    except ForeignName as error:
        raise ModelError(
            f"{file} names {error.name}, which tensors do not need",
            "the file was not loaded, and no code from it was run; use the model's safetensors file",
        ) from error
    except PickleError as error:
        raise ModelError(f"{file} cannot be read: {error}", _AGAIN) from error
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]
    if not isinstance(values, dict):
        raise ModelError(f"{file} holds a {type(values).__name__} instead of a dict of tensors")
    return values


def _storage(reference: object) -> _Storage:
    """Read a reference to a storage: ``("storage", type, number, device, length)``."""
    if isinstance(reference, tuple) and len(reference) == 5 and reference[0] == "storage":
        _, kind, key, _, _ = reference
        if isinstance(kind, _Type) and isinstance(key, str):
            return _Storage(key, kind)
    raise PickleError("it refers to something other than a storage of numbers")


def _ordered_dict(*arguments: object) -> dict[str, object]:
    if arguments:
        raise PickleError("it creates an ordered dict that is not empty")
    return {}


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> _View:
    lengths, steps = _whole(shape), _whole(strides)
    if not isinstance(storage, _Storage) or len(lengths) != len(steps):
        raise PickleError("it has a tensor without a storage, or with contradictory shapes")
    view = _View(storage, _whole((offset,))[0], lengths, steps)
    if prod(lengths) > view.span:
        raise PickleError(f"it has a tensor of shape {list(lengths)[:8]} whose numbers overlap")
    return view


def _whole(numbers: object) -> tuple[int, ...]:
    if not isinstance(numbers, tuple) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise PickleError("it has a tensor whose shape is not a tuple of whole numbers")
    return numbers


def _rebuild_parameter(view: object, *_: object) -> object:
    return view


_NAMES: dict[Name, object] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("collections", "OrderedDict"): _ordered_dict,
    **{("torch", name): _Type(*kind) for name, kind in _STORAGES.items()},
}


def _storage_places(file: Path, archive: zipfile.ZipFile, folder: str) -> dict[str, tuple[int, int]]:
    """Offset in the file and size of each storage, in bytes."""
    storages = {}
    total = file.stat().st_size
    with file.open("rb") as stream:
        for info in _members(archive, folder):
            _check_stored(file, info)
            stream.seek(info.header_offset + _LOCAL_HEADER - 4)
            name, extra = unpack("<HH", stream.read(4))
            start = info.header_offset + _LOCAL_HEADER + name + extra
            if start + info.file_size > total:
                raise ModelError(f"{file} is truncated: {total} bytes of {start + info.file_size}", _AGAIN)
            storages[info.filename.removeprefix(folder)] = start, info.file_size
    return storages


def _members(archive: zipfile.ZipFile, folder: str) -> Iterable[zipfile.ZipInfo]:
    return (info for info in archive.infolist() if info.filename.startswith(folder))


def _tensor(file: Path, name: str, view: _View, storages: dict[str, tuple[int, int]]) -> Tensor:
    if view.storage.key not in storages:
        raise ModelError(f"{file}: tensor {name} has no storage", _AGAIN)
    start, size = storages[view.storage.key]
    width = view.storage.type.width
    begins, length = view.offset * width, view.span * width
    if begins + length > size:
        raise ModelError(f"{file}: tensor {name} needs {begins + length} bytes of a storage that has {size}", _AGAIN)
    strides = () if _is_contiguous(view) else view.strides
    return Tensor(file, name, view.storage.type.dtype, view.shape, start + begins, length, strides)


def _is_contiguous(view: _View) -> bool:
    wanted = contiguous_strides(view.shape)
    return not prod(view.shape) or all(
        length == 1 or stride == want for length, stride, want in zip(view.shape, view.strides, wanted, strict=True)
    )
