"""Interface of a backend, which runs a model."""

from typing import ClassVar, Protocol

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.output import Output


class Backend(Protocol):
    """A runner of one model. Several threads may call `forward` at once.

    Attributes:
        precision: Number type of the computation, as ``/info`` names it.
        is_padding_free: Whether sequences of different lengths cost no more in one batch than in separate ones, so that
            batches may mix lengths.
        passes_at_once: Least number of threads that should call `forward`: 2 for a device that fetches the results of
            one pass while it computes the next.
        pools: Whether it has the output `Output.POOLED`, so that it need not return the states of all tokens.
    """

    precision: str
    is_padding_free: ClassVar[bool]
    passes_at_once: int = 1
    pools: bool = False

    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """Run the model once over concatenated sequences.

        Args:
            ids: Token ids of all sequences, [tokens].
            types: Token type ids, [tokens].
            lengths: Number of tokens of each sequence, [sequences], each at least 1.
            outputs: Outputs to compute, from those of `output_heads.outputs_of`.

        Returns:
            Rows of each output, in the order of ``outputs`` and in the shape that `Output` states.

        Raises:
            errors.OutOfMemory: The memory does not suffice for so many tokens; a smaller batch may succeed.
            errors.Backend: The runtime failed.
        """

    def check(self) -> None:
        """Check that the weights in memory are still the loaded ones; this is cheap enough for every pass.

        Raises:
            errors.WeightsChanged: A program wrote to a mapped file.
        """
