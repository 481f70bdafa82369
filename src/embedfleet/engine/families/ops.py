"""The operations of a forward pass, which every model family calls and each backend implements.

A family (`engine/families`) writes its forward pass as calls of `Ops`. A backend that builds a graph returns the name
of a node's output from each call; a backend that computes eagerly returns values. So each family is written and tested
once, and all backends compute the same numbers.

The sequences of a batch are concatenated. In shapes, ``tokens`` is the number of tokens of the whole batch and
``sequences`` the number of sequences. Backends avoid padding where they can.
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
"""Names of activations in config.json (transformers, activations.py) → activation."""

LONGEST_UNSPLIT = 512
"""Longest sequence, in tokens, whose attention scores are all held at once; plain attention has no such limit.

For a longer sequence only the scores of one block of queries are held.
"""

BLOCK = 256
"""Number of queries per block."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Tensors of a dense layer.

    Attributes:
        weight: Matrix as PyTorch stores it, [out, in].
        bias: Bias, [out]; None for none.
    """

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Alibi:
    """ALiBi (Press et al. 2022): a bias of -slope(head) x |i - j| on the attention score of tokens i and j.

    Attributes:
        slopes: Slope of each head, positive.
    """

    slopes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RelativeBias:
    """Relative position bias of T5 (Raffel et al. 2020, section 2.1), learned per head and bucket of j - i.

    Attributes:
        table: Learned biases, [buckets, heads].
        buckets: Number of buckets, half of them for each sign of the distance.
        max_distance: Distance, in tokens, from which all distances of a sign share the last bucket.
    """

    table: Tensor
    buckets: int
    max_distance: int = 128

    def bucket(self, distance: int) -> int:
        """Bucket of a key that is ``distance`` tokens after its query, or before it if negative.

        Each sign of the distance has half of the buckets. The first half of these hold one short distance each; the
        others share longer distances logarithmically.
        """
        half = self.buckets // 2
        exact, far = half // 2, abs(distance)
        side = half if distance > 0 else 0
        if far < exact:
            return side + far
        # At a power of the base, rounding may leave the quotient just below its whole number.
        steps = math.log(far / exact) / math.log(self.max_distance / exact) * (half - exact) + 1e-9
        return side + min(exact + int(steps), half - 1)


@dataclass(frozen=True, slots=True)
class Attention:
    """Heads, mask and bias of an attention layer.

    Attributes:
        heads: Number of query heads.
        head_size: Width of a head.
        key_heads: Number of key and value heads; each serves ``heads / key_heads`` consecutive query heads. 0 for one
            per query head.
        is_causal: Whether a token attends to itself and earlier tokens only.
        window: Largest distance, in tokens, between a token and those it attends to; None for the whole sequence.
        bias: Bias that is added to the scores before the softmax; None for none.
    """

    heads: int
    head_size: int
    key_heads: int = 0
    is_causal: bool = False
    window: int | None = None
    bias: Alibi | RelativeBias | Disentangled | None = None

    def __post_init__(self) -> None:
        if not self.key_heads:
            object.__setattr__(self, "key_heads", self.heads)

    @property
    def is_plain(self) -> bool:
        """Whether attention is bidirectional, without a window or a bias; runtimes compute this in tiles themselves."""
        return not self.is_causal and self.window is None and self.bias is None

    def key_range(self, begin: int, end: int, length: int) -> tuple[int, int]:
        """Range of the keys that some queries attend to: the first key and the one after the last.

        Args:
            begin: First query.
            end: Query after the last one.
            length: Number of tokens of the sequence.
        """
        low, high = 0, length
        if self.window is not None:
            low, high = max(low, begin - self.window), min(high, end + self.window)
        return low, min(high, end) if self.is_causal else high


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embedding (Su et al. 2021), which pairs element e of a head with element e + half.

    Attributes:
        head_size: Width of a head; its first ``2 x half`` elements are rotated.
        frequencies: Radians per position of each pair, [half].
        scaling: Factor of the cosines and sines.
    """

    head_size: int
    frequencies: tuple[float, ...]
    scaling: float = 1.0


class Ops(Protocol[V]):
    """Operations of a backend over one batch.

    Attributes:
        ids: Token ids, [tokens].
        types: Token types, [tokens], limited to the family's number of token types.
        positions: Positions, [tokens]; each sequence begins at the family's ``first_position``.
    """

    ids: V
    types: V
    positions: V

    def embed(self, table: Tensor, indices: V) -> V:
        """Look up rows of ``table`` [rows, width] at ``indices`` [tokens]: → [tokens, width]."""

    def dense(self, states: V, layer: Linear) -> V:
        """Apply a dense layer: [..., in] → [..., out]."""

    def add(self, left: V, right: V) -> V:
        """Add two values of equal shape, element by element."""

    def multiply(self, left: V, right: V) -> V:
        """Multiply two values of equal shape, element by element."""

    def scale(self, states: V, factor: float) -> V:
        """Multiply every element by one number."""

    def shift(self, states: V, by: Tensor) -> V:
        """Add the same vector [width] to the state of every token."""

    def activate(self, states: V, activation: Activation) -> V:
        """Apply an activation element by element; ``gelu`` is the exact GELU, with erf."""

    def layer_norm(self, states: V, scale: Tensor, shift: Tensor | None, epsilon: float) -> V:
        """Normalise the last axis by its mean and variance."""

    def rms_norm(self, states: V, scale: Tensor, epsilon: float, *, offset: float = 0.0) -> V:
        """Normalise the last axis of [tokens, width] by its root mean square.

        A shorter ``scale``, [head_size], normalises each head separately. ``offset`` is added to the scale: Gemma
        stores its scales minus 1.
        """

    def split(self, states: V, widths: Sequence[int]) -> tuple[V, ...]:
        """Split the last axis into parts of the given widths."""

    def rotate(self, states: V, rotary: Rotary) -> V:
        """Apply a rotary embedding to queries or keys [tokens, heads x head_size], with positions counted from 0."""

    def attention(self, query: V, key: V, value: V, attention: Attention) -> V:
        """Compute scaled dot-product attention within each sequence: → [tokens, heads x head_size].

        Scores are divided by the square root of ``head_size``.

        Args:
            query: Queries, [tokens, heads x head_size].
            key: Keys, [tokens, key_heads x head_size].
            value: Values, [tokens, key_heads x head_size].
            attention: Heads, mask and bias.
        """

    def convolve(self, states: V, kernel: Linear, groups: int) -> V:
        """Convolve along each sequence, zero-padded at its ends: [tokens, in] → [tokens, out].

        Args:
            states: States, [tokens, in].
            kernel: Weight [out, in / groups, size] and bias; ``size`` is odd.
            groups: Number of groups.
        """

    def mix_experts(self, states: V, scores: V, most: int, experts: Sequence[Callable[[V], V]]) -> V:
        """Sum the outputs of each token's top experts, weighted by the softmax over all scores: → [tokens, width].

        Args:
            states: States, [tokens, width].
            scores: Scores of the router, [tokens, experts].
            most: Number of experts that compute each token.
            experts: Function of each expert. It gets only the tokens routed to it, [some, width], possibly none.
        """

    def first(self, states: V) -> V:
        """Take each sequence's first token: [tokens, width] → [sequences, width]."""

    def last(self, states: V, pad: int | None = None) -> V:
        """Take each sequence's last token whose id is not ``pad``: [tokens, width] → [sequences, width].

        A sequence of padding alone yields its first token.
        """

    def mean(self, states: V) -> V:
        """Average each sequence's tokens: [tokens, width] → [sequences, width]."""
