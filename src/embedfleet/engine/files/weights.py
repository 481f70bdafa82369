"""Tensors of a model, from any of the file formats that its folder may have."""

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

from embedfleet.engine.files.pickle_file import read_pickle_file
from embedfleet.engine.files.safetensors_file import read_safetensors_file
from embedfleet.engine.files.tensor import SIZES, Tensor
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import check_file, has_file
from embedfleet.model_folder.file_names import WEIGHTS_FILES, is_index

_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_COPY_ALL = "copy or download the whole folder"


def find_weights(folder: Path) -> Path | None:
    """File of a folder's weights, or their index; None if there is none."""
    return next((folder / name for name in WEIGHTS_FILES if has_file(folder / name)), None)


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's tensors, by full name.

    Args:
        file: File that `find_weights` found, other than an ONNX file.

    Raises:
        ModelError: A file is missing, truncated or corrupt.
    """
    return {name: tensor.shape for name, tensor in _read(file).items()}


class Weights:
    """Tensors of one model.

    Args:
        file: File that `find_weights` found, or any file of tensors.
        anchor: Name, within the body, of a tensor that every model of the family has. A model that was saved with a
            task head has a prefix before the names of its body; the anchor reveals it.

    Raises:
        ModelError: A file is missing, truncated, corrupt or in an unknown format.
    """

    def __init__(self, file: Path, anchor: str = "") -> None:
        self.file = file
        self._tensors = {_current_name(name): tensor for name, tensor in _read(file).items()}
        self._prefix = _prefix(self._tensors, anchor) if anchor else ""
        self._beside: dict[str, Weights] = {}

    def beside(self, name: str) -> "Weights":
        """Tensors of another file in the same folder; it is read once.

        Raises:
            ModelError: As for the constructor.
        """
        if name not in self._beside:
            self._beside[name] = Weights(self.file.parent / name)
        return self._beside[name]

    @property
    def numbers(self) -> int:
        """Count of numbers in all tensors, used or not."""
        return sum(prod(tensor.shape) for tensor in self._tensors.values())

    def has(self, name: str) -> bool:
        """Whether there is a tensor with this full name."""
        return name in self._tensors

    def has_in_body(self, name: str) -> bool:
        """Whether the body has a tensor with this name."""
        return self._prefix + name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor by its full name; empty if it is missing."""
        return self._tensors[name].shape if name in self._tensors else ()

    def body(self, name: str, *shape: int) -> Tensor:
        """A tensor of the body, by its name without the prefix.

        Raises:
            ModelError: The tensor is missing, its shape is not ``shape``, or its number type is not supported.
        """
        return self.head(self._prefix + name, *shape)

    def head(self, name: str, *shape: int) -> Tensor:
        """A tensor by its full name.

        Raises:
            ModelError: The tensor is missing, its shape is not ``shape``, or its number type is not supported.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ModelError(f"{self.file}: tensor {name} is missing")
        if tensor.shape != shape:
            raise ModelError(
                f"{tensor.file}: tensor {name} has shape {list(tensor.shape)}, config.json asks for {list(shape)}",
                "the weights and config.json belong to different models",
            )
        if tensor.dtype not in SIZES:
            raise ModelError(f"{tensor.file}: tensor {name} has type {tensor.dtype}", f"supported: {', '.join(SIZES)}")
        return tensor


def _current_name(name: str) -> str:
    """Replace the names gamma and beta, which the first checkpoints of BERT gave the tensors of a norm."""
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _read(file: Path) -> dict[str, Tensor]:
    """Locate the tensors of a file, or of the files that an index names."""
    return _read_shards(file) if is_index(file.name) else _read_file(file)


def _read_file(file: Path) -> dict[str, Tensor]:
    return read_safetensors_file(file) if file.suffix == ".safetensors" else read_pickle_file(file)


def shard_names(index: Path) -> list[str]:
    """Names of the shards in an index, all in its folder.

    Raises:
        ModelError: The index cannot be read, or names a file outside of its folder.
    """
    names = sorted(set(_shards_by_tensor(index).values()))
    for name in names:
        if Path(name).name != name:
            raise ModelError(f"{index} names the file {name!r}, which is not in its folder", _COPY_ALL)
    return names


def _shards_by_tensor(index: Path) -> Mapping[str, str]:
    """Map each tensor to the name of the shard that holds it.

    Raises:
        ModelError: The index cannot be read, or has no ``weight_map``.
    """
    shards = ModelConfig(index).values.get("weight_map")
    if not isinstance(shards, Mapping) or not all(isinstance(name, str) for name in shards.values()):
        raise ModelError(f"{index} has no `weight_map` from tensors to files")
    return shards


def _read_shards(index: Path) -> dict[str, Tensor]:
    """Locate the tensors that an index names, each in its shard.

    Raises:
        ModelError: A shard is missing, or lacks a tensor that the index assigns to it.
    """
    shards = _shards_by_tensor(index)
    found: dict[str, dict[str, Tensor]] = {}
    for name in shard_names(index):
        file = index.parent / name
        check_file(file, f"{index.name} names it; {_COPY_ALL}")
        found[name] = _read_file(file)
    lacking = [tensor for tensor, name in shards.items() if tensor not in found[name]]
    if lacking:
        name = shards[lacking[0]]
        raise ModelError(
            f"{index.parent / name} lacks tensor {lacking[0]}, which {index.name} assigns to it"
            f" ({len(lacking)} such tensors)",
            "the index and its files belong to different models",
        )
    return {tensor: found[name][tensor] for tensor, name in shards.items()}


def _prefix(names: Iterable[str], anchor: str) -> str:
    """Prefix before the anchor; the shortest one, since a head may contain a small body of its own."""
    found = [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]
    return min(found, key=len, default="")
