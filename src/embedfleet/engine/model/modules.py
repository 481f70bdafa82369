"""sentence-transformers' modules: what makes a vector of token states, as ``modules.json`` lists it."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from embedfleet.engine.families.ops import Activation
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig, parse_json
from embedfleet.model_folder.file import has_file

# PyTorch's class of an activation, without its package.
_ACTIVATIONS: dict[str, Activation | None] = {
    "Identity": None,
    "Tanh": "tanh",
    "ReLU": "relu",
    "SiLU": "silu",
}
_VECTOR = "sentence_embedding"
QUANTIZER = "FlexibleQuantizer"
"""The class of `Quantize`; it stands in a file of the model's folder, which is not run."""

_QUANTIZER_TYPE = f"st_quantize.{QUANTIZER}"
_PACKAGE = "sentence_transformers."
_TRANSFORMERS = ("Transformer", "MLMTransformer")


@dataclass(frozen=True, slots=True)
class Module:
    """One line of ``modules.json``.

    Attributes:
        name: of its class, without the package.
        folder: of its own config and weights.
    """

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Dense:
    """A layer on the pooled vector: ``activation(weight x + bias)``, and perhaps ``x`` again beside it.

    Attributes:
        folder: of its weights.
        inputs: numbers in.
        outputs: numbers out.
        bias: whether it has one.
        activation: None means none.
        residual: whether what comes in is added to what comes out, through a matrix of its own if the widths differ.
    """

    folder: Path
    inputs: int
    outputs: int
    bias: bool
    activation: Activation | None
    residual: bool


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """The vector's numbers brought to a mean of nought and a variance of one, then weighed and shifted.

    Attributes:
        folder: of its weights.
        width: numbers in and out.
    """

    folder: Path
    width: int


@dataclass(frozen=True, slots=True)
class Normalize:
    """The vector is brought to length one."""


@dataclass(frozen=True, slots=True)
class Quantize:
    """Each number's tanh in 127ths, rounded: what pplx-embed's own module (``st_quantize``) makes of a vector."""


Step = Dense | LayerNorm | Normalize | Quantize
"""What follows the pooling."""


def read_modules(folder: Path) -> list[Module]:
    """A model folder's modules in their order; none where it does not state them.

    Raises:
        ModelError: ``modules.json`` cannot be read, is no array, or names a folder outside.
    """
    file = folder / "modules.json"
    if not file.is_file():
        return []
    modules = parse_json(file)
    if not isinstance(modules, list):
        raise ModelError(f"{file} does not hold a JSON array")
    return [_module(folder, value) for value in modules]


def transformer_folder(folder: Path, modules: list[Module]) -> Path:
    """Where the transformer's own files are: the model's folder, or ``0_Transformer`` as it was before."""
    return next((module.folder for module in modules if module.name in _TRANSFORMERS), folder)


def _module(folder: Path, value: object) -> Module:
    values = value if isinstance(value, dict) else {"type": value}
    file, kind, path = folder / "modules.json", str(values.get("type", "")), str(values.get("path", ""))
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ModelError(
            f"{file} names the folder {path!r}, which is not in the model's own", "copy or download the whole folder"
        )
    if not kind.startswith(_PACKAGE) and kind != _QUANTIZER_TYPE:
        raise ModelError(
            f"{file}: module {kind!r} is not sentence-transformers' own, and other code is never run",
            "serve the model with the package that it was made with",
        )
    name = kind.rpartition(".")[2]
    return Module(name, folder / path)


def read_steps(modules: list[Module], width: int) -> tuple[Step, ...]:
    """What follows the pooling, up to the last layer: a length of one at the end is for the request to ask.

    Args:
        modules: of a model.
        width: of the pooled vector.

    Raises:
        ModelError: a layer's config is missing, or says what we do not compute.
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
            _check_vector(module.folder / "config.json")
            steps.append(Normalize())
        elif module.name == QUANTIZER:
            steps.append(Quantize())
    while steps and isinstance(steps[-1], Normalize):
        steps.pop()
    return tuple(steps)


def _check_order(modules: list[Module]) -> None:
    """See that the transformer comes first and the pooling next: what follows works on one vector.

    Raises:
        ModelError: they do not.
    """
    names = [module.name for module in modules if module.name != "Dropout"]
    for place, name in ((0, "Transformer"), (1, "Pooling")):
        if name in names and names.index(name) != place:
            raise ModelError(
                f"modules.json lists {', '.join(names)}: {name} has to be number {place + 1}",
                "list them in the order in which they compute: Transformer, Pooling, and what follows",
            )


def _read_dense(folder: Path, width: int) -> Dense:
    """Source of the keys: sentence-transformers 6.2, base/modules/dense.py."""
    config = ModelConfig(folder / "config.json")
    inputs = config.number("in_features")
    if inputs != width:
        raise ModelError(
            f"{config.file}: `in_features` is {inputs}, the vector that comes in has {width} numbers",
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
        bias=config.flag("bias", default=True),
        activation=_ACTIVATIONS[activation],
        residual=config.flag("use_residual", default=False),
    )


def _read_layer_norm(folder: Path, width: int) -> LayerNorm:
    """Source of the key: sentence-transformers 6.2, sentence_transformer/modules/layer_norm.py."""
    config = ModelConfig(folder / "config.json")
    found = config.number("dimension")
    if found != width:
        raise ModelError(
            f"{config.file}: `dimension` is {found}, the vector that comes in has {width} numbers",
            "the module belongs to another model",
        )
    return LayerNorm(folder, width)


def _check_vector(file: Path) -> None:
    """See that a module works on the text's vector, and not on its tokens'.

    Raises:
        ModelError: it does not.
    """
    if not has_file(file):
        return
    config = ModelConfig(file)
    for key in ("module_input_name", "module_output_name"):
        config.choice(key, {_VECTOR: True}, _VECTOR)
