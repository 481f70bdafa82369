"""What runs a model: the interface."""

from typing import ClassVar, Protocol

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.compute.output import Output


class Backend(Protocol):
    """Runs one model; `forward` may be called by several threads at once.

    Attributes:
        precision: the type of number that it computes in, as ``/info`` calls it.
        padding_free: whether sequences of unlike length cost no more together than apart, so that batches need not
            be of like length.
    """

    precision: str
    padding_free: ClassVar[bool]

    def forward(
        self, ids: Integers, types: Integers, lengths: Integers, outputs: tuple[Output, ...]
    ) -> tuple[Floats, ...]:
        """Run sequences laid end to end, once for all that is asked.

        Args:
            ids: token ids of all sequences, [tokens].
            types: token type ids, [tokens].
            lengths: tokens of each sequence, [sequences]; none is 0.
            outputs: some of those that `heads.outputs_of` names.

        Returns:
            Of each of ``outputs`` its rows, in their order; see `Output` for the shapes.

        Raises:
            errors.OutOfMemory: the memory does not suffice for so many tokens; fewer may be tried.
            errors.Backend: the runtime failed.
        """

    def check(self) -> None:
        """See that what it computes with is still what it loaded; takes microseconds.

        Raises:
            errors.WeightsChanged: it is not, for somebody wrote to a file that is mapped.
        """
