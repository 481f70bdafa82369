"""ONNX Runtime behind the engine's interface: the model's own tensors in a graph that we build."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from embedfleet.dialects.tei import Floats
from embedfleet.engine.layout import Integers, layout
from embedfleet.engine.model import ModelSpec
from embedfleet.engine.output import Output
from embedfleet.engine.packed import own_session, packed_session
from embedfleet.engine.pooling import splade


class OnnxBackend:
    """See `Backend`. A graph built from the model's own weights, on one core per calling thread.

    ONNX Runtime computes all nodes of a graph, whichever of its outputs a run asks for. So a graph has what can be
    asked of its model and no more, and several heads on one body must be cheap beside it.

    Args:
        spec: of a folder that `read_model` accepted.
        packed: folder where packed weights are kept for all replicas, see `packed_session`; None packs them into this
            process' own memory.

    Raises:
        ModelError: the weights do not fit the config, or the runtime refuses the graph.
        errors.OutOfMemory: there is no room for the weights.
    """

    precision = "float32"
    padding_free: ClassVar[bool] = False  # attention has a grid of sequences by the longest

    def __init__(self, spec: ModelSpec, packed: Path | None = None) -> None:
        self._family = spec.family
        self._session, self._outputs = own_session(spec) if packed is None else packed_session(spec, packed)

    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """See `Backend.forward`."""
        feeds = layout(lengths)
        feeds["ids"] = ids
        feeds["types"] = np.minimum(types, self._family.token_types - 1)
        feeds["positions"] = feeds["places"] + self._family.first_position
        names = [self._outputs[output] for output in outputs]
        rows = self._session.run(names, feeds, f"{len(ids)} tokens in {len(lengths)} sequences")
        return tuple(
            splade(row, feeds["first"]) if output is Output.WORDS else row
            for output, row in zip(outputs, rows, strict=True)
        )
