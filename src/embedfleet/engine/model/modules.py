"""Modules of sentence-transformers, listed in ``modules.json``: the steps from token states to an embedding."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from embedfleet.engine.families.ops import Activation
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig, parse_json
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.file_names import CONFIG, MODULES

# PyTorch's class of an activation, without its package → activation.
_ACTIVATIONS: dict[str, Activation | None] = {
    "Identity": None,
    "Tanh": "tanh",
    "ReLU": "relu",
    "SiLU": "silu",
}
_VECTOR = "sentence_embedding"
QUANTIZER = "FlexibleQuantizer"
"""Class of `Quantize` in a code file of the model's folder, which is never run."""

_QUANTIZER_TYPE = f"st_quantize.{QUANTIZER}"
_PACKAGE = "sentence_transformers."
_TRANSFORMERS = ("Transformer", "MLMTransformer")


@dataclass(frozen=True, slots=True)
class Module:
    """An entry of ``modules.json``.

    Attributes:
        name: Name of its class, without the package.
        folder: Folder of its config and weights.
    """

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Dense:
    """A dense layer on the pooled vector: ``activation(weight x + bias)``, optionally with a residual connection.

    Attributes:
        folder: Folder of its weights.
        inputs: Input dimensions.
        outputs: Output dimensions.
        has_bias: Whether it has a bias.
        activation: Activation; None for none.
        has_residual: Whether the input is added to the output, through a separate matrix if the dimensions differ.
    """

    folder: Path
    inputs: int
    outputs: int
    has_bias: bool
    activation: Activation | None
    has_residual: bool


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """A layer normalisation of the vector, with learned scale and shift.

    Attributes:
        folder: Folder of its weights.
        width: Dimensions of the vector.
    """

    folder: Path
    width: int


@dataclass(frozen=True, slots=True)
class Normalize:
    """Normalisation of the vector to L2 norm 1."""


@dataclass(frozen=True, slots=True)
class Quantize:
    """Quantisation by pplx-embed's own module (``st_quantize``): round(127 tanh(x)) for each number."""


Step = Dense | LayerNorm | Normalize | Quantize
"""A step after pooling."""


def read_modules(folder: Path) -> list[Module]:
    """Read a model folder's modules, in order; empty if there is no ``modules.json``.

    Raises:
        ModelError: ``modules.json`` cannot be read, is not an array, or names a folder outside of the model's.
    """
    file = folder / MODULES
    if not file.is_file():
        return []
    modules = parse_json(file)
    if not isinstance(modules, list):
        raise ModelError(f"{file} does not hold a JSON array")
    return [_module(folder, value) for value in modules]


def transformer_folder(folder: Path, modules: list[Module]) -> Path:
    """Folder of the transformer's files: the model's folder, or ``0_Transformer`` in old models."""
    return next((module.folder for module in modules if module.name in _TRANSFORMERS), folder)


def _module(folder: Path, value: object) -> Module:
    values = value if isinstance(value, dict) else {"type": value}
    file, kind, path = folder / MODULES, str(values.get("type", "")), str(values.get("path", ""))
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ModelError(
            f"{file} names the folder {path!r}, which is outside of the model's folder",
            "copy or download the whole folder",
        )
    if not kind.startswith(_PACKAGE) and kind != _QUANTIZER_TYPE:
        raise ModelError(
            f"{file}: module {kind!r} is not part of sentence-transformers, and other code is never run",
            "serve the model with the package that made it",
        )
    name = kind.rpartition(".")[2]
    return Module(name, folder / path)


def read_steps(modules: list[Module], width: int) -> tuple[Step, ...]:
    """Read the steps after pooling, without a final normalisation; each request decides whether there is one.

    Args:
        modules: Modules of the model.
        width: Dimensions of the pooled vector.

    Raises:
        ModelError: A module's config is missing, or has an unsupported setting.
    """
    _check_order(modules)
    steps: list[Step] = []
    for module in modules:
        if module.name == "Dense":
            dense = _read_dense(module.folder, width)
            width = dense.outputs
            steps.append(dense)
        elif module.name == "LayerNorm":
            steps.append(_read_layer_norm(module.folder, width))
        elif module.name == "Normalize":
            _check_vector(module.folder / CONFIG)
            steps.append(Normalize())
        elif module.name == QUANTIZER:
            steps.append(Quantize())
    while steps and isinstance(steps[-1], Normalize):
        steps.pop()
    return tuple(steps)


def _check_order(modules: list[Module]) -> None:
    """Check that the transformer is first and pooling second, since further steps work on one vector.

    Raises:
        ModelError: One of them is elsewhere.
    """
    names = [module.name for module in modules if module.name != "Dropout"]
    for place, name in ((0, "Transformer"), (1, "Pooling")):
        if name in names and names.index(name) != place:
            raise ModelError(
                f"{MODULES} lists {', '.join(names)}: {name} must be number {place + 1}",
                "list them in the order in which they run: Transformer, Pooling, further modules",
            )


def _read_dense(folder: Path, width: int) -> Dense:
    """Read a dense layer; keys as in sentence-transformers 6.2, base/modules/dense.py."""
    config = ModelConfig(folder / CONFIG)
    inputs = config.number("in_features")
    if inputs != width:
        raise ModelError(
            f"{config.file}: `in_features` is {inputs}, but its input has {width} dimensions",
            "the module belongs to another model",
        )
    _check_vector(config.file)
    activation = str(config.values.get("activation_function") or "Tanh").rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise ModelError(
            f"{config.file}: activation_function {activation!r} is not supported",
            f"supported: {', '.join(_ACTIVATIONS)}",
        )
    return Dense(
        folder=folder,
        inputs=inputs,
        outputs=config.number("out_features"),
        has_bias=config.flag("bias", default=True),
        activation=_ACTIVATIONS[activation],
        has_residual=config.flag("use_residual", default=False),
    )


def _read_layer_norm(folder: Path, width: int) -> LayerNorm:
    """Read a layer norm; key as in sentence-transformers 6.2, sentence_transformer/modules/layer_norm.py."""
    config = ModelConfig(folder / CONFIG)
    found = config.number("dimension")
    if found != width:
        raise ModelError(
            f"{config.file}: `dimension` is {found}, but its input has {width} dimensions",
            "the module belongs to another model",
        )
    return LayerNorm(folder, width)


def _check_vector(file: Path) -> None:
    """Check that a module works on the embedding of the text, not on token states.

    Raises:
        ModelError: It works on something else.
    """
    if not has_file(file):
        return
    config = ModelConfig(file)
    for key in ("module_input_name", "module_output_name"):
        config.choice(key, {_VECTOR: True}, _VECTOR)
