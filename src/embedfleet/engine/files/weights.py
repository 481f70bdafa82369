"""A model's tensors, in whichever files its folder has them."""

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

from embedfleet.engine.files.pickle_file import read_pickle_file
from embedfleet.engine.files.safetensors_file import read_safetensors_file
from embedfleet.engine.files.tensor import SIZES, Tensor
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import check_file, has_file

FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "onnx/model.onnx",
)
"""Where weights are looked for, the first that is there counts.

An index names the shards that tensors are in. An ONNX file is no file of tensors but a whole pass: see `onnx_file`.
"""

INDEX_SUFFIX = ".index.json"
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_WHOLE = "copy or download the whole folder"


def find_weights(folder: Path) -> Path | None:
    """The file that a model's weights are in, or their index."""
    return next((folder / name for name in FILES if has_file(folder / name)), None)


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's tensors, by their full names.

    Args:
        file: as `find_weights` finds it, but no ONNX file.

    Raises:
        ModelError: a file is missing, truncated or corrupt.
    """
    return {name: tensor.shape for name, tensor in _read(file).items()}


class Weights:
    """The tensors of one model.

    Args:
        file: as `find_weights` finds it, or any file of tensors.
        anchor: a tensor that every model of the family has, by its name in the body. A model saved with its task's
            head has its body under a prefix, which is what stands before this name.

    Raises:
        ModelError: a file is missing, truncated, corrupt or of unknown number types.
    """

    def __init__(self, file: Path, anchor: str = "") -> None:
        self.file = file
        self._tensors = {_present_name(name): tensor for name, tensor in _read(file).items()}
        self._prefix = _prefix(self._tensors, anchor) if anchor else ""
        self._beside: dict[str, Weights] = {}

    def beside(self, name: str) -> "Weights":
        """The tensors of another file in the same folder, read once.

        Raises:
            ModelError: as the constructor.
        """
        if name not in self._beside:
            self._beside[name] = Weights(self.file.parent / name)
        return self._beside[name]

    @property
    def numbers(self) -> int:
        """Of all tensors, those that nobody asks for among them."""
        return sum(prod(tensor.shape) for tensor in self._tensors.values())

    def has(self, name: str) -> bool:
        """Whether there is a tensor of that full name."""
        return name in self._tensors

    def has_body(self, name: str) -> bool:
        """Whether the transformer itself has a tensor of that name."""
        return self._prefix + name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor by its full name; empty if it is missing."""
        return self._tensors[name].shape if name in self._tensors else ()

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
                f"{tensor.file}: tensor {name} has shape {list(tensor.shape)}, config.json asks for {list(shape)}",
                "the weights and config.json belong to different models",
            )
        if tensor.dtype not in SIZES:
            raise ModelError(
                f"{tensor.file}: tensor {name} is of type {tensor.dtype}", f"supported: {', '.join(SIZES)}"
            )
        return tensor


def _present_name(name: str) -> str:
    """A norm's tensors were called gamma and beta once: so they are in the first checkpoints of BERT."""
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, or of those that an index names."""
    return _read_shards(file) if file.name.endswith(INDEX_SUFFIX) else _read_file(file)


def _read_file(file: Path) -> dict[str, Tensor]:
    return read_safetensors_file(file) if file.suffix == ".safetensors" else read_pickle_file(file)


def shard_names(index: Path) -> list[str]:
    """The files that an index names, all of its own folder.

    Raises:
        ModelError: it cannot be read, or names something else.
    """
    names = sorted(set(_places(index).values()))
    for name in names:
        if Path(name).name != name:
            raise ModelError(f"{index} names the file {name!r}, which is not in its folder", _WHOLE)
    return names


def _places(index: Path) -> Mapping[str, str]:
    """Of each tensor the file that it is in."""
    places = ModelConfig(index).values.get("weight_map")
    if not isinstance(places, Mapping) or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{index} has no `weight_map` from tensors to files")
    return places


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors that an index names, each from the file that it names.

    Raises:
        ModelError: a file is missing or has not what it should.
    """
    places = _places(index)
    found: dict[str, dict[str, Tensor]] = {}
    for name in shard_names(index):
        file = index.parent / name
        check_file(file, f"{index.name} names it: {_WHOLE}")
        found[name] = _read_file(file)
    lacking = [tensor for tensor, name in places.items() if tensor not in found[name]]
    if lacking:
        name = places[lacking[0]]
        raise ModelError(
            f"{index.parent / name} lacks tensor {lacking[0]}, which {index.name} says it has ({len(lacking)} such)",
            "the index and its files belong to different models",
        )
    return {tensor: found[name][tensor] for tensor, name in places.items()}


def _prefix(names: Iterable[str], anchor: str) -> str:
    """What stands before the anchor; of several the shortest, for a head may have a small body of its own."""
    found = [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]
    return min(found, key=len, default="")
