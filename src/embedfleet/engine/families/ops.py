"""The operations that a model's forward pass is written in, once for every backend.

A family (`engine/families`) tells its pass as calls of `Ops`. A backend that builds a graph answers each call with the
name of a node's output; one that computes at once answers with the values. So a family is written, read and checked
once, and every backend computes the same thing.

All sequences of a batch are laid end to end: ``tokens`` is the number of tokens of all of them, ``sequences`` how many
there are. Nothing is padded where it can be helped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from embedfleet.engine.families.disentangled import Disentangled
from embedfleet.engine.files.tensor import Tensor

V = TypeVar("V")

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""What config.json calls them (transformers, activations.py)."""

UNDIVIDED = 512
"""Attention that is not plain holds all scores of a sequence up to this length at once, of a longer one a block's."""

BLOCK = 256
"""Queries of a block."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A dense layer's tensors: ``weight`` [out, in], as PyTorch stores it, and ``bias`` [out]."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Alibi:
    """A penalty that grows with the distance of two tokens: score + -slope(head) x |i - j| (Press et al. 2022).

    Attributes:
        slopes: one per head, all positive.
    """

    slopes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RelativeBias:
    """A learnt score per head and bucket of the distance j - i (T5; Raffel et al. 2020, section 2.1).

    Attributes:
        table: [buckets, heads].
        max_distance: from here on all distances share the last bucket of their side.
    """

    table: Tensor
    buckets: int
    max_distance: int = 128

    def bucket(self, distance: int) -> int:
        """The table's row for a key that stands ``distance`` tokens after its query, or before it if negative.

        One half of the rows is for each side. Of a half, the first half tells near distances one by one, the other
        spaces the farther ones by their logarithm.
        """
        half = self.buckets // 2
        exact, far = half // 2, abs(distance)
        side = half if distance > 0 else 0
        if far < exact:
            return side + far
        # At a power of the base the quotient may fall short of its whole number by a rounding error.
        steps = math.log(far / exact) / math.log(self.max_distance / exact) * (half - exact) + 1e-9
        return side + min(exact + int(steps), half - 1)


@dataclass(frozen=True, slots=True)
class Attention:
    """How tokens of one sequence look at each other.

    Attributes:
        heads: of the queries.
        key_heads: of keys and values; each serves ``heads / key_heads`` heads, neighbours in order.
        head_size: width of one head.
        causal: a token sees itself and those before it.
        window: a token sees those at most so far away; None means all of its sequence.
        bias: added to the scores before the softmax.
    """

    heads: int
    head_size: int
    key_heads: int = 0
    causal: bool = False
    window: int | None = None
    bias: Alibi | RelativeBias | Disentangled | None = None

    def __post_init__(self) -> None:
        if not self.key_heads:
            object.__setattr__(self, "key_heads", self.heads)

    @property
    def is_plain(self) -> bool:
        """Whether every token sees every other, by their scores alone: runtimes compute this in tiles by themselves."""
        return not self.causal and self.window is None and self.bias is None

    def seen(self, begin: int, end: int, length: int) -> tuple[int, int]:
        """The keys that queries from ``begin`` to ``end`` see any of: the first, and the one after the last.

        Args:
            begin: the first query.
            end: the one after the last.
            length: tokens of the sequence.
        """
        low, high = 0, length
        if self.window is not None:
            low, high = max(low, begin - self.window), min(high, end + self.window)
        return low, min(high, end) if self.causal else high


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embedding (Su et al. 2021) in halves: element e of a head is turned with element e + half.

    Attributes:
        head_size: width of one head; its first ``2 x half`` elements are turned.
        frequencies: radians per position, one per pair: [half].
        scaling: cosines and sines are multiplied by it.
    """

    head_size: int
    frequencies: tuple[float, ...]
    scaling: float = 1.0


class Ops(Protocol[V]):
    """See the module. ``ids``, ``types`` and ``positions`` are the pass's inputs, [tokens] whole numbers each.

    ``positions`` begins at the family's ``first_position`` in every sequence; ``types`` is held below the family's
    number of token types.
    """

    ids: V
    types: V
    positions: V

    def embed(self, table: Tensor, indices: V) -> V:
        """Rows of ``table`` [rows, width] at ``indices`` [tokens] → [tokens, width]."""

    def dense(self, states: V, layer: Linear) -> V:
        """[..., in] → [..., out]."""

    def add(self, left: V, right: V) -> V:
        """Element by element, of equal shapes."""

    def multiply(self, left: V, right: V) -> V:
        """Element by element, of equal shapes."""

    def scale(self, states: V, factor: float) -> V:
        """Every element times one number."""

    def shift(self, states: V, by: Tensor) -> V:
        """The same vector [width] added to every token's."""

    def activate(self, states: V, activation: Activation) -> V:
        """Element by element; ``gelu`` is the exact one, by erf."""

    def layer_norm(self, states: V, scale: Tensor, shift: Tensor | None, epsilon: float) -> V:
        """Over the last axis."""

    def rms_norm(self, states: V, scale: Tensor, epsilon: float, *, above: float = 0.0) -> V:
        """Over the last axis of [tokens, width]; of a ``scale`` [head_size] over each head of that size alone.

        ``above`` is added to the scale: Gemma's are stored as what they are above 1.
        """

    def split(self, states: V, widths: Sequence[int]) -> tuple[V, ...]:
        """Cut the last axis into pieces of those widths."""

    def rotate(self, states: V, rotary: Rotary) -> V:
        """Turn each head of queries or keys [tokens, heads x head_size] by its token's place, counted from 0."""

    def attention(self, query: V, key: V, value: V, attention: Attention) -> V:
        """Scaled dot-product attention within each sequence → [tokens, heads x head_size].

        ``query`` is [tokens, heads x head_size], ``key`` and ``value`` [tokens, key_heads x head_size]; scores are
        divided by the root of ``head_size``.
        """

    def convolve(self, states: V, kernel: Linear, groups: int) -> V:
        """Each token with its neighbours in its sequence, nought beyond the ends: [tokens, in] → [tokens, out].

        ``kernel``'s weight is [out, in / groups, size]; ``size`` is odd.
        """

    def choose(self, states: V, scores: V, most: int, experts: Sequence[Callable[[V], V]]) -> V:
        """The sum of each token's ``most`` experts of the highest scores, each times its share → [tokens, width].

        Shares are the softmax over all scores [tokens, experts]. An expert is given those tokens alone that chose it,
        [some, width], which may be none.
        """

    def first(self, states: V) -> V:
        """Each sequence's first token: [tokens, width] → [sequences, width]."""

    def last(self, states: V, pad: int | None = None) -> V:
        """Each sequence's last token whose id is not ``pad``: [tokens, width] → [sequences, width].

        Of a sequence that has no other it is the first.
        """

    def mean(self, states: V) -> V:
        """Each sequence's mean: [tokens, width] → [sequences, width]."""
