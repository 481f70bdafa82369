"""sentence-transformers' modules: what makes a vector of token states, as ``modules.json`` lists it."""

from dataclasses import dataclass
from pathlib import Path

from embedfleet.engine.ops import Activation
from embedfleet.errors import ModelError
from embedfleet.folder.config import ModelConfig, parse_json

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
class Normalize:
    """The vector is brought to length one."""


@dataclass(frozen=True, slots=True)
class Quantize:
    """Each number's tanh in 127ths, rounded: what pplx-embed's own module (``st_quantize``) makes of a vector."""


Step = Dense | Normalize | Quantize
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


def _module(folder: Path, value: object) -> Module:
    values = value if isinstance(value, dict) else {"type": value}
    name = str(values.get("type", "")).rpartition(".")[2]
    path = str(values.get("path", ""))
    if Path(path).name != path:
        raise ModelError(
            f"{folder / 'modules.json'} names the folder {path!r}, which is not in the model's own",
            "copy or download the whole folder",
        )
    return Module(name, folder / path)


def read_steps(modules: list[Module], width: int) -> tuple[Step, ...]:
    """What follows the pooling, up to the last layer: a length of one at the end is for the request to ask.

    Args:
        modules: of a model.
        width: of the pooled vector.

    Raises:
        ModelError: a layer's config is missing, or says what we do not compute.
    """
    steps: list[Step] = []
    for module in modules:
        if module.name == "Dense":
            dense = _read_dense(module.folder, width)
            width = dense.outputs
            steps.append(dense)
        elif module.name == "Normalize":
            steps.append(Normalize())
        elif module.name == QUANTIZER:
            steps.append(Quantize())
    while steps and isinstance(steps[-1], Normalize):
        steps.pop()
    return tuple(steps)


def _read_dense(folder: Path, width: int) -> Dense:
    """Source of the keys: sentence-transformers 6.2, base/modules/dense.py."""
    config = ModelConfig(folder / "config.json")
    inputs = config.number("in_features")
    if inputs != width:
        raise ModelError(
            f"{config.file}: `in_features` is {inputs}, the vector that comes in has {width} numbers",
            "the module belongs to another model",
        )
    for key in ("module_input_name", "module_output_name"):
        config.choice(key, {_VECTOR: True}, _VECTOR)
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
