"""How much memory a pass takes beside the weights, counted from the model's own operations before one is run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedfleet.engine.compute.heads import compute, outputs_of
from embedfleet.engine.families.disentangled import TILE, Disentangled
from embedfleet.engine.families.ops import BLOCK, UNDIVIDED, Activation, Attention, Linear, Rotary
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.spec import ModelSpec

_BYTES = 4  # of a float32
# A heap is broken into pieces: a process grew by up to 1.6 times what its tensors took (ModernBERT, 8192 tokens).
_HEAP = 1.75
_ROOM = 64_000_000  # pages of the runtime's code and of the weights that a first pass touches
Floats = Callable[[int], int]
"""Numbers, of a pass of one text of so many tokens."""


def pass_bytes(spec: ModelSpec, tokens: int) -> int:
    """The most that a process grows by in a pass over one text of so many tokens, in float32, weights not counted.

    Shorter texts that are as many tokens together take no more. It is a bound: a runtime that computes in place, or
    skips copies, needs less.

    Args:
        spec: of a model whose tensors are in its folder.
        tokens: of the text.
    """
    ops = _CountingOps()
    found = compute(spec, ops, Weights(spec.weights_file, spec.family.anchor), outputs_of(spec))
    return int(_HEAP * _BYTES * ops.greatest(tokens, list(found.values()))) + _ROOM


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation.

    Attributes:
        reads: values, by number.
        scratch: what it holds beside what it reads and gives.
    """

    reads: tuple[int, ...]
    scratch: Floats


class _CountingOps:
    """`engine.families.ops.Ops` by numbers of values: what each operation reads, how wide its outcome is."""

    ids = types = positions = -1  # whole numbers of the tokens alone

    def __init__(self) -> None:
        self._widths: list[int] = []  # of each value, per token; it is made by the step of its number
        self._steps: list[_Step] = []

    def greatest(self, tokens: int, kept: Sequence[int]) -> int:
        """Numbers held at a time, at most, if each value goes after the last step that reads it."""
        ends = dict.fromkeys(range(len(self._steps)), 0)
        for number, step in enumerate(self._steps):
            ends |= dict.fromkeys(step.reads, number)
        ends |= dict.fromkeys(kept, len(self._steps))
        held = greatest = 0
        for number, step in enumerate(self._steps):
            held += self._widths[number] * tokens
            greatest = max(greatest, held + step.scratch(tokens))
            gone = [value for value in {number, *step.reads} if ends[value] <= number]
            held -= tokens * sum(self._widths[value] for value in gone)
        return greatest

    def embed(self, table: Tensor, indices: int) -> int:
        """See `Ops.embed`."""
        return self._add(table.shape[1], indices)

    def dense(self, states: int, layer: Linear) -> int:
        """See `Ops.dense`; in int8 the states are bytes beside."""
        return self._add(layer.weight.shape[0], states, scratch=lambda tokens: tokens * layer.weight.shape[1] // 4)

    def add(self, left: int, right: int) -> int:
        """See `Ops.add`."""
        return self._add(self._widths[left], left, right)

    multiply = add

    def scale(self, states: int, factor: float) -> int:  # noqa: ARG002 - as the interface has it
        """See `Ops.scale`."""
        return self._add(self._widths[states], states)

    def shift(self, states: int, by: Tensor) -> int:  # noqa: ARG002
        """See `Ops.shift`."""
        return self._add(self._widths[states], states)

    def activate(self, states: int, activation: Activation) -> int:  # noqa: ARG002
        """See `Ops.activate`."""
        return self._add(self._widths[states], states)

    def layer_norm(self, states: int, scale: Tensor, shift: Tensor | None, epsilon: float) -> int:  # noqa: ARG002
        """See `Ops.layer_norm`."""
        return self._add(self._widths[states], states)

    def rms_norm(self, states: int, scale: Tensor, epsilon: float, *, above: float = 0.0) -> int:  # noqa: ARG002
        """See `Ops.rms_norm`."""
        return self._add(self._widths[states], states)

    def split(self, states: int, widths: Sequence[int]) -> tuple[int, ...]:
        """See `Ops.split`."""
        return tuple(self._add(width, states) for width in widths)

    def rotate(self, states: int, rotary: Rotary) -> int:
        """See `Ops.rotate`; the pieces that are turned and those that are not are copies."""
        width = self._widths[states]
        return self._add(width, states, scratch=lambda tokens: tokens * (2 * width + 3 * len(rotary.frequencies)))

    def attention(self, query: int, key: int, value: int, attention: Attention) -> int:
        """See `Ops.attention`."""
        return self._add(
            self._widths[query], query, key, value, scratch=lambda tokens: _of_attention(attention, tokens)
        )

    def convolve(self, states: int, kernel: Linear, groups: int) -> int:  # noqa: ARG002
        """See `Ops.convolve`; columns are copies, and so are each one's neighbours."""
        out, _, size = kernel.weight.shape
        width = self._widths[states]
        return self._add(out, states, scratch=lambda tokens: tokens * (out + (1 + size) * width))

    def choose(self, states: int, scores: int, most: int, experts: Sequence[Callable[[int], int]]) -> int:
        """See `Ops.choose`; all tokens may choose one expert."""
        width, shares = self._widths[states], self._widths[scores]
        mixed = self._add(width, states, scores, scratch=lambda tokens: tokens * (shares + 2 * most))
        for expert in experts:
            found = expert(self._add(width, states))
            mixed = self._add(width, mixed, found, scores, scratch=lambda tokens: tokens * width)
        return mixed

    def first(self, states: int) -> int:
        """See `Ops.first`."""
        return self._add(self._widths[states], states)

    def last(self, states: int, pad: int | None = None) -> int:  # noqa: ARG002
        """See `Ops.last`."""
        return self._add(self._widths[states], states)

    mean = first

    def _add(self, width: int, *reads: int, scratch: Floats = lambda _: 0) -> int:
        self._widths.append(width)
        self._steps.append(_Step(tuple(read for read in reads if read >= 0), scratch))
        return len(self._steps) - 1


def _of_attention(attention: Attention, tokens: int) -> int:
    """Numbers of queries, keys and values by head, and of the scores and what is added to them, of one block."""
    width = attention.heads * attention.head_size
    copies = 6 * width * tokens
    if attention.is_plain:
        return copies
    if isinstance(attention.bias, Disentangled):
        # Of a tile: products with the tables, the pieces of them in place and what is made of these; beside it the
        # keys with what fills their last block, and the tables' rows for each block of them.
        rows = min(tokens, TILE)
        return copies + 6 * width * (tokens + rows) + attention.heads * rows * (4 * rows + 6 * tokens)
    if tokens <= UNDIVIDED:
        return copies + 4 * attention.heads * tokens * tokens
    spans = [attention.seen(begin, min(begin + BLOCK, tokens), tokens) for begin in range(0, tokens, BLOCK)]
    seen = max(high - low for low, high in spans)
    # Beside a block's own: the scores of a square that is not used, but made for shorter texts.
    return copies + 2 * width * seen + 4 * attention.heads * BLOCK * seen + attention.heads * UNDIVIDED**2
