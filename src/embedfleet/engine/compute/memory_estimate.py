"""Estimate of the memory that a forward pass needs besides the weights, from the model's operations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from typing_extensions import override

from embedfleet.engine.compute.output_heads import compute_outputs, outputs_of
from embedfleet.engine.families.disentangled import TILE, Disentangled
from embedfleet.engine.families.ops import BLOCK, LONGEST_UNSPLIT, Activation, Attention, Linear, Ops, Rotary
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.spec import ModelSpec

_BYTES = 4  # per float32
# The heap fragments, so a process grows by more than the size of its tensors.
_HEAP = 1.75
_FIRST_TOUCH = 64_000_000  # bytes of the runtime's code and of the weights that a first pass touches
NumberCount = Callable[[int], int]
"""Number of tokens of a text → count of the numbers held in memory."""


def pass_bytes(spec: ModelSpec, tokens: int) -> int:
    """Upper bound of the memory that a float32 pass over one text adds to a process, in bytes, weights excluded.

    Several texts with as many tokens in total need no more. A runtime that computes in place or avoids copies needs
    less.

    Args:
        spec: Specification of a model whose tensors are in its folder.
        tokens: Number of tokens of the text.
    """
    ops = _CountingOps()
    outputs = compute_outputs(spec, ops, Weights(spec.weights_file, spec.family.anchor), outputs_of(spec))
    return int(_HEAP * _BYTES * ops.peak(tokens, list(outputs.values()))) + _FIRST_TOUCH


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation of the pass.

    Attributes:
        reads: Step numbers of the values that it reads.
        scratch: Count of numbers that it holds besides its inputs and its output.
    """

    reads: tuple[int, ...]
    scratch: NumberCount


class _CountingOps(Ops[int]):
    """Operations that only record what each step reads and how wide its output is; a value is its step's number."""

    ids = types = positions = -1  # inputs, whose size is negligible

    def __init__(self) -> None:
        self._widths: list[int] = []  # width per token of each step's output
        self._steps: list[_Step] = []

    def peak(self, tokens: int, kept: Sequence[int]) -> int:
        """Largest count of numbers held at one time, if each value is freed after the last step that reads it.

        Args:
            tokens: Number of tokens of the text.
            kept: Step numbers of the values that are never freed.
        """
        ends = dict.fromkeys(range(len(self._steps)), 0)
        for number, step in enumerate(self._steps):
            ends |= dict.fromkeys(step.reads, number)
        ends |= dict.fromkeys(kept, len(self._steps))
        held = peak = 0
        for number, step in enumerate(self._steps):
            held += self._widths[number] * tokens
            peak = max(peak, held + step.scratch(tokens))
            freed = [value for value in {number, *step.reads} if ends[value] <= number]
            held -= tokens * sum(self._widths[value] for value in freed)
        return peak

    @override
    def embed(self, table: Tensor, indices: int) -> int:
        return self._add(table.shape[1], indices)

    @override
    def dense(self, states: int, layer: Linear) -> int:
        # In int8 the states are also held as bytes.
        return self._add(layer.weight.shape[0], states, scratch=lambda tokens: tokens * layer.weight.shape[1] // 4)

    @override
    def add(self, left: int, right: int) -> int:
        return self._add(self._widths[left], left, right)

    @override
    def multiply(self, left: int, right: int) -> int:
        return self.add(left, right)

    @override
    def scale(self, states: int, factor: float) -> int:
        return self._add(self._widths[states], states)

    @override
    def shift(self, states: int, by: Tensor) -> int:
        return self._add(self._widths[states], states)

    @override
    def activate(self, states: int, activation: Activation) -> int:
        return self._add(self._widths[states], states)

    @override
    def layer_norm(self, states: int, scale: Tensor, shift: Tensor | None, epsilon: float) -> int:
        return self._add(self._widths[states], states)

    @override
    def rms_norm(self, states: int, scale: Tensor, epsilon: float, *, offset: float = 0.0) -> int:
        return self._add(self._widths[states], states)

    @override
    def split(self, states: int, widths: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._add(width, states) for width in widths)

    @override
    def rotate(self, states: int, rotary: Rotary) -> int:
        # Rotated and unrotated parts are copies.
        width = self._widths[states]
        return self._add(width, states, scratch=lambda tokens: tokens * (2 * width + 3 * len(rotary.frequencies)))

    @override
    def attention(self, query: int, key: int, value: int, attention: Attention) -> int:
        return self._add(
            self._widths[query], query, key, value, scratch=lambda tokens: _attention_scratch(attention, tokens)
        )

    @override
    def convolve(self, states: int, kernel: Linear, groups: int) -> int:
        # Columns are copies, and so are the neighbours of each column.
        out, _, size = kernel.weight.shape
        width = self._widths[states]
        return self._add(out, states, scratch=lambda tokens: tokens * (out + (1 + size) * width))

    @override
    def mix_experts(self, states: int, scores: int, most: int, experts: Sequence[Callable[[int], int]]) -> int:
        # In the worst case, all tokens are routed to one expert.
        width, shares = self._widths[states], self._widths[scores]
        mixed = self._add(width, states, scores, scratch=lambda tokens: tokens * (shares + 2 * most))
        for expert in experts:
            output = expert(self._add(width, states))
            mixed = self._add(width, mixed, output, scores, scratch=lambda tokens: tokens * width)
        return mixed

    @override
    def first(self, states: int) -> int:
        return self._add(self._widths[states], states)

    @override
    def last(self, states: int, pad: int | None = None) -> int:
        return self._add(self._widths[states], states)

    @override
    def mean(self, states: int) -> int:
        return self.first(states)

    def _add(self, width: int, *reads: int, scratch: NumberCount = lambda _: 0) -> int:
        self._widths.append(width)
        self._steps.append(_Step(tuple(read for read in reads if read >= 0), scratch))
        return len(self._steps) - 1


def _attention_scratch(attention: Attention, tokens: int) -> int:
    """Count of numbers that attention holds: queries, keys and values by head, scores and biases of one block."""
    width = attention.heads * attention.head_size
    copies = 6 * width * tokens
    if attention.is_plain:
        return copies
    if isinstance(attention.bias, Disentangled):
        # Each tile has products with the tables, their shifted parts and the resulting bias. In addition there are the
        # keys, padded to whole blocks, and the tables' rows for each block of keys.
        rows = min(tokens, TILE)
        return copies + 6 * width * (tokens + rows) + attention.heads * rows * (4 * rows + 6 * tokens)
    if tokens <= LONGEST_UNSPLIT:
        return copies + 4 * attention.heads * tokens * tokens
    spans = [attention.key_range(begin, min(begin + BLOCK, tokens), tokens) for begin in range(0, tokens, BLOCK)]
    keys = max(high - low for low, high in spans)
    # Besides the block, the graph holds the full scores that it would use for a shorter text.
    return copies + 2 * width * keys + 4 * attention.heads * BLOCK * keys + attention.heads * LONGEST_UNSPLIT**2
