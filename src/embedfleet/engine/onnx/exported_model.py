"""A model that its folder ships as ``onnx/model.onnx``: a pass that somebody else exported, run as it is.

Exporters (Optimum's, sentence-transformers') agree on the names of inputs and outputs, and on sequences padded on the
right with a mask beside them.
"""

from typing import Any, ClassVar

import numpy as np

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.pooling import splade
from embedfleet.engine.compute.ragged_batch import ragged_layout
from embedfleet.engine.compute.resource_check import require_memory
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.session import OnnxSession
from embedfleet.engine.onnx.tensors import read_onnx_tensors
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_MEMORY = 3  # times the file, at the height of loading: what is parsed, the runtime's copy, what it rearranges
_TYPES: dict[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_REALS = ("tensor(float)", "tensor(float16)", "tensor(double)")  # given on as float32
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
# Names of an output, and how many dimensions it has.
_OUTPUTS: dict[Output, tuple[tuple[str, ...], int]] = {
    Output.STATES: (("last_hidden_state", "token_embeddings"), 3),
    Output.CLASSES: (("logits",), 2),
    Output.WORDS: (("logits",), 3),
}


class OnnxFileBackend:
    """See `Backend`. On one core per calling thread; every layer is padded, as the file wants it.

    Args:
        spec: of a folder that `read_model` accepted and that has its weights in an ONNX file.

    Raises:
        ModelError: the runtime refuses the file, or it has other inputs or outputs than the config asks for.
        errors.OutOfMemory: there is no room for the weights.
    """

    precision = "float32"
    padding_free: ClassVar[bool] = False

    def __init__(self, spec: ModelSpec) -> None:
        self._file = spec.weights_file
        self._family = spec.family
        self._pad = ModelConfig(spec.body / "config.json").number("pad_token_id", 0)
        size = self._file.stat().st_size
        require_memory(spec.folder, size, _MEMORY * size)
        tensors = read_onnx_tensors(self._file)
        self._session = OnnxSession.of_model(tensors.model, self._file, tensors.values)
        self._types = {name: self._type(name, kind) for name, kind in self._session.inputs.items()}
        self._outputs = {output: self._find(output) for output in outputs_of(spec)}
        self._check(spec)

    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """See `Backend.forward`."""
        places = ragged_layout(lengths)
        is_token = places["columns"] < lengths[:, None]
        grid = np.where(is_token, places["first"][:, None] + places["columns"], 0)
        feeds = {
            "input_ids": np.where(is_token, ids[grid], self._pad),
            "attention_mask": is_token,
            "token_type_ids": np.where(is_token, np.minimum(types, self._family.token_types - 1)[grid], 0),
            "position_ids": np.where(is_token, (places["places"] + self._family.first_position)[grid], 0),
        }
        rows = self._session.run(
            [self._outputs[output] for output in outputs],
            {name: feeds[name].astype(kind) for name, kind in self._types.items()},
            f"{len(ids)} tokens in {len(lengths)} sequences",
        )
        return tuple(
            self._rows(output, row, is_token, places["first"]) for output, row in zip(outputs, rows, strict=True)
        )

    def check(self) -> None:
        """See `Backend.check`; nothing is mapped."""

    def _rows(self, output: Output, row: Floats, is_token: np.ndarray[Any, Any], first: Integers) -> Floats:
        """What the interface promises, of a padded output in the file's own type; what is too great is infinite."""
        with np.errstate(over="ignore"):
            row = row.astype(np.float32, copy=False)
        if output is Output.CLASSES:
            return row
        tokens: Floats = row[is_token]
        return splade(tokens, first) if output is Output.WORDS else tokens

    def _type(self, name: str, kind: str) -> type[np.integer[Any]]:
        if name not in _INPUTS or kind not in _TYPES:
            raise ModelError(
                f"{self._file} takes the input {name!r} of type {kind}",
                f"supported: {', '.join(_INPUTS)}, of {' or '.join(_TYPES)}",
            )
        return _TYPES[kind]

    def _find(self, output: Output) -> str:
        """The output by one of its names, or the only one of so many dimensions."""
        names, dimensions = _OUTPUTS[output]
        fitting = [name for name, count in self._session.outputs.items() if count == dimensions]
        named = [name for name in names if name in fitting] or fitting
        if len(named) != 1:
            given = ", ".join(f"{name} of {count} dimensions" for name, count in self._session.outputs.items())
            raise ModelError(
                f"{self._file} gives {given}; needed is {' or '.join(names)} of {dimensions} dimensions",
                "export the model with its token states, or its logits",
            )
        kind = self._session.output_types[named[0]]
        if kind not in _REALS:
            raise ModelError(
                f"{self._file} gives {named[0]} of type {kind}", f"supported: {', '.join(_REALS)}; export it anew"
            )
        return named[0]

    def _check(self, spec: ModelSpec) -> None:
        """See that what comes out is as wide as the config says."""
        widths = {
            Output.STATES: spec.family.hidden_size,
            Output.CLASSES: len(spec.id2label),
            Output.WORDS: spec.family.vocabulary,
        }
        one = np.zeros(1, dtype=np.int64)
        for output, rows in zip(self._outputs, self.forward(one, one, one + 1, tuple(self._outputs)), strict=True):
            if rows.shape[-1] != widths[output]:
                raise ModelError(
                    f"{self._file}: {self._outputs[output]} is {rows.shape[-1]} wide, config.json asks for"
                    f" {widths[output]}",
                    "the file and config.json belong to different models",
                )
