"""A feed-forward part of several experts, of which each token takes a few (Nussbaum and Duderstadt 2025)."""

from dataclasses import dataclass
from functools import partial

from embedfleet.engine.families.layers import linear
from embedfleet.engine.families.ops import Activation, Linear, Ops, V
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_REFUSED = ("moe_normalize_expert_weights", "expert_choice_router")


@dataclass(frozen=True, slots=True)
class Experts:
    """Of Nomic's layout: the experts' weights lie one under the other in two tensors, and share one bias.

    Attributes:
        count: how many there are.
        most: how many of them a token takes.
        every: of so many layers, beginning with the first, the second has them.
        width: of a token's state.
        wide: within an expert.
    """

    count: int
    most: int
    every: int
    width: int
    wide: int
    activation: Activation

    def are_in(self, layer: int) -> bool:
        """Whether the layer of that number, from 0, has them."""
        return layer % self.every == 1

    def states(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        """What is added to ``states`` [tokens, width], of the layer whose tensors' names begin with ``prefix``."""
        find, rows = weights.body, self.count * self.wide
        scores = ops.dense(states, linear(find, f"{prefix}mlp.router.layer", self.width, self.count, bias=False))
        up, down = (find(f"{prefix}mlp.experts.mlp.{name}", rows, self.width) for name in ("w1", "w2"))
        experts = [partial(self._expert, ops, up, down, number) for number in range(self.count)]
        mixed = ops.choose(states, scores, self.most, experts)
        return ops.shift(mixed, find(f"{prefix}mlp.experts.bias", self.width))

    def _expert(self, ops: Ops[V], up: Tensor, down: Tensor, number: int, states: V) -> V:
        begin, end = number * self.wide, (number + 1) * self.wide
        inner = ops.activate(ops.dense(states, Linear(up.rows(begin, end))), self.activation)
        return ops.dense(inner, Linear(down.rows(begin, end).turned()))


def read_experts(config: ModelConfig, width: int, wide: int, activation: Activation) -> Experts | None:
    """As a config of Nomic's authors states them; None where it states none.

    Raises:
        ModelError: naming the key and its value, of what is not supported.
    """
    every = config.number("moe_every_n_layers", 0)
    if not every:
        return None
    for key in _REFUSED:
        if config.flag(key, default=False):
            raise ModelError(f"{config.file}: `{key}` is true", "supported: false")
    shared = config.number("num_shared_experts", 0)
    count, most = config.number("num_experts"), config.number("moe_top_k")
    for key, value, is_right, hint in (
        ("moe_every_n_layers", every, every > 1, "from 2"),
        ("num_shared_experts", shared, not shared, "0"),
        ("moe_top_k", most, 1 <= most <= count, f"from 1 to `num_experts`, {count}"),
    ):
        if not is_right:
            raise ModelError(f"{config.file}: `{key}` is {value}", f"supported: {hint}")
    return Experts(count, most, every, width, wide, activation)
