"""A model's graph at work: from sequences laid end to end to what is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.pooling import splade
from embedfleet.engine.compute.ragged_batch import ragged_layout
from embedfleet.engine.families.family import Family
from embedfleet.engine.onnx.session import OnnxSession

Names = Mapping[Output, str]
"""The names in a graph of what can be asked."""


@dataclass(frozen=True, slots=True)
class OnnxPass:
    """A session on a graph that `onnx_model.build_graph` has made.

    Attributes:
        outputs: their names in it.
    """

    family: Family
    session: OnnxSession
    outputs: Names

    def __call__(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """See `Backend.forward`."""
        feeds = ragged_layout(lengths)
        feeds["ids"] = ids
        feeds["types"] = np.minimum(types, self.family.token_types - 1)
        feeds["positions"] = feeds["places"] + self.family.first_position
        names = [self.outputs[output] for output in outputs]
        rows = self.session.run(names, feeds, f"{len(ids)} tokens in {len(lengths)} sequences")
        return tuple(
            splade(row, feeds["first"]) if output is Output.WORDS else row
            for output, row in zip(outputs, rows, strict=True)
        )
