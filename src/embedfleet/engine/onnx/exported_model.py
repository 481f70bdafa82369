"""The backend that runs an exported ONNX model, the folder's ``onnx/model.onnx``.

Exporters (Optimum, sentence-transformers) agree on the names of inputs and outputs, on padding on the right, and on an
attention mask.
"""

from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.pooling import splade
from embedfleet.engine.compute.ragged_batch import ragged_layout
from embedfleet.engine.compute.resource_check import require_memory
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.exported_tensors import read_exported_tensors
from embedfleet.engine.onnx.session import OnnxSession
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_MEMORY = 3  # peak of loading, as a multiple of the file: parsed model, the runtime's copy, rearranged weights
_TYPES: dict[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_REALS = ("tensor(float)", "tensor(float16)", "tensor(double)")  # converted to float32
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
# The names that exporters give an output, and its number of dimensions.
_OUTPUTS: dict[Output, tuple[tuple[str, ...], int]] = {
    Output.STATES: (("last_hidden_state", "token_embeddings"), 3),
    Output.CLASSES: (("logits",), 2),
    Output.WORDS: (("logits",), 3),
}


class ExportedModelBackend(Backend):
    """Runs an exported model on one core per calling thread, with padded sequences.

    Args:
        spec: Model whose weights are in an ONNX file.
        session: Session on that file.

    Raises:
        ModelError: The file has other inputs or outputs than the config asks for.
    """

    precision = "float32"
    is_padding_free: ClassVar[bool] = False

    def __init__(self, spec: ModelSpec, session: OnnxSession) -> None:
        self._file = spec.weights_file
        self._family = spec.family
        self._pad = ModelConfig(spec.body / "config.json").number("pad_token_id", 0)
        self._session = session
        self._types = {name: self._type(name, kind) for name, kind in session.inputs.items()}
        self._outputs = {output: self._find(output) for output in outputs_of(spec)}

    @classmethod
    def load(cls, spec: ModelSpec) -> "ExportedModelBackend":
        """Load the exported model of a folder, and run it once.

        Args:
            spec: Model that `read_model` accepted, with its weights in an ONNX file.

        Raises:
            ModelError: The runtime refuses the file, or it has other inputs or outputs than the config asks for.
            errors.OutOfMemory: The memory does not suffice for the weights.
        """
        size = spec.weights_file.stat().st_size
        require_memory(spec.folder, size, _MEMORY * size)
        tensors = read_exported_tensors(spec.weights_file)
        backend = cls(spec, OnnxSession.of_model(tensors.model, spec.weights_file, tensors.values))
        backend._check_widths(spec)
        return backend

    @override
    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
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

    @override
    def check(self) -> None:
        """Do nothing, since no file is mapped."""

    def _rows(self, output: Output, row: Floats, is_token: np.ndarray[Any, Any], first: Integers) -> Floats:
        """The rows that `Backend.forward` promises, from a padded output in the file's own type.

        A number too large for float32 becomes infinite.
        """
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
        """The name of an output in the file: one that exporters use, or else the only one with its dimensions."""
        names, dimensions = _OUTPUTS[output]
        fitting = [name for name, count in self._session.outputs.items() if count == dimensions]
        named = [name for name in names if name in fitting] or fitting
        if len(named) != 1:
            given = ", ".join(f"{name} of {count} dimensions" for name, count in self._session.outputs.items())
            raise ModelError(
                f"{self._file} gives {given}; needed: {' or '.join(names)} of {dimensions} dimensions",
                "export the model with its token states, or its logits",
            )
        kind = self._session.output_types[named[0]]
        if kind not in _REALS:
            raise ModelError(
                f"{self._file} gives {named[0]} of type {kind}", f"supported: {', '.join(_REALS)}; export it again"
            )
        return named[0]

    def _check_widths(self, spec: ModelSpec) -> None:
        """Run one token, and check that the outputs are as wide as the config says.

        Raises:
            ModelError: An output has another width.
        """
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
