"""The sequences of a pass as operations on tensors need them: side by side in grids."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor as Values

from embedfleet.arrays import Integers
from embedfleet.engine.torch.grids import Grid, make_grids
from embedfleet.engine.torch.inputs import PassInputs
from embedfleet.engine.torch.recorded_passes import ShapeVaries

Padded = Callable[[Integers], Integers]
"""Lengths of sequences → lengths of their rows in grids: `grids.exact_length` or `grids.power_of_two`."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A grid on the device.

    Attributes:
        grid: Sequences and their padding.
        tokens: Index of the token at each place, [sequences x length].
        is_real: Whether a place has a token and is no padding, [sequences, length]; None if all have.
    """

    grid: Grid
    tokens: Values
    is_real: Values | None


class Sequences:
    """Access to the sequences of one pass.

    Args:
        inputs: Numbers of the pass.
        padded: Function that chooses the lengths of the grids' rows.
    """

    def __init__(self, inputs: PassInputs, padded: Padded) -> None:
        self.inputs = inputs
        self._padded = padded
        self._shared: dict[Hashable, Values] = {}
        self._rows: tuple[list[Rows], Values] | None = None

    def once(self, key: Hashable, make: Callable[[], Values]) -> Values:
        """Values that several layers of the pass share, made at their first use."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def by_grid(self, parts: Sequence[Values], compute: Callable[[Rows, Sequence[Values]], Values]) -> Values:
        """Apply a function to each grid: → [tokens, width].

        The number of calls is that of the grids.

        Args:
            parts: Values by token, [tokens, width] each.
            compute: Function from a grid and its parts, [sequences, length, width] each, to such values.
        """
        grids, order = self._grids()
        found = []
        for rows in grids:
            shape = (rows.grid.sequences, rows.grid.length)
            computed = compute(rows, [part[rows.tokens].view(*shape, part.shape[1]) for part in parts])
            found.append(computed.reshape(shape[0] * shape[1], computed.shape[2]))
        return (found[0] if len(found) == 1 else torch.cat(found))[order]

    def _grids(self) -> tuple[list[Rows], Values]:
        """The grids of the pass, sent to the device in one copy, and the place of each token in them.

        Raises:
            ShapeVaries: The pass is being recorded, so its lengths are not known.
        """
        if self._rows is None:
            lengths = self.inputs.known_lengths
            if lengths is None:
                raise ShapeVaries("the model has an operation that needs sequences of similar length side by side")
            grids = make_grids(lengths, self._padded(lengths))
            device = self.inputs.ids.device
            sizes = [size for grid in grids.grids for size in (len(grid.tokens), grid.sequences)]
            numbers = [one for grid in grids.grids for one in (grid.tokens, grid.lengths)]
            packed = torch.cat([torch.from_numpy(one) for one in (*numbers, grids.order)])
            if device.type != "cpu":
                packed = packed.pin_memory().to(device, non_blocking=True)
            *sent, order = packed.split_with_sizes([*sizes, len(grids.order)])
            pairs = zip(grids.grids, sent[::2], sent[1::2], strict=True)
            self._rows = [_rows(grid, tokens, own) for grid, tokens, own in pairs], order
        return self._rows


def _rows(grid: Grid, tokens: Values, lengths: Values) -> Rows:
    if grid.is_full:
        return Rows(grid, tokens, None)
    return Rows(grid, tokens, torch.arange(grid.length, device=tokens.device) < lengths[:, None])
