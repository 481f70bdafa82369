"""A model's forward pass, from concatenated sequences to the requested outputs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.pooling import splade
from embedfleet.engine.compute.ragged_batch import ragged_layout
from embedfleet.engine.families.family import Family
from embedfleet.engine.onnx.session import OnnxSession

OutputNames = Mapping[Output, str]
"""The names of a graph's outputs."""


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """A forward pass through a graph that `model_graph.build_graph` built.

    Attributes:
        family: Family of the model.
        session: Session on the graph.
        outputs: Names of the outputs in the graph.
    """

    family: Family
    session: OnnxSession
    outputs: OutputNames

    def __call__(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """Run the model, with the arguments, results and errors of `Backend.forward`."""
        feeds = ragged_layout(lengths)
        feeds["ids"] = ids
        feeds["types"] = np.minimum(types, self.family.token_types - 1)
        first, places = self.family.first_position, feeds["places"]
        feeds["positions"] = places + first if first else places
        names = [self.outputs[output] for output in outputs]
        rows = self.session.run(names, feeds, f"{len(ids)} tokens in {len(lengths)} sequences")
        return tuple(
            splade(row, feeds["first"]) if output is Output.WORDS else row
            for output, row in zip(outputs, rows, strict=True)
        )
