"""Mixture of experts: a router picks a few feed-forward blocks per token (Nussbaum and Duderstadt 2025)."""

from dataclasses import dataclass
from functools import partial

from embedfleet.engine.families.ops import Activation, Linear, Ops, V
from embedfleet.engine.families.shared_layers import linear
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_REFUSED = ("moe_normalize_expert_weights", "expert_choice_router")


@dataclass(frozen=True, slots=True)
class MixtureOfExperts:
    """Experts in Nomic's layout: two tensors hold the stacked weights of all experts, which share one bias.

    Attributes:
        count: Number of experts.
        most: Number of experts that compute each token.
        every: Period of the layers with experts, in layers; the second layer of each period has experts.
        width: Hidden size.
        inner_width: Width within an expert.
        activation: Activation within an expert.
    """

    count: int
    most: int
    every: int
    width: int
    inner_width: int
    activation: Activation

    def are_in(self, layer: int) -> bool:
        """Whether the layer with this number, from 0, has experts."""
        return layer % self.every == 1

    def states(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        """Compute the output of the experts, [tokens, width].

        Args:
            ops: Operations of the backend.
            weights: Weights of the model.
            prefix: Start of the layer's tensor names.
            states: Input, [tokens, width].
        """
        find, rows = weights.body, self.count * self.inner_width
        scores = ops.dense(states, linear(find, f"{prefix}mlp.router.layer", self.width, self.count, bias=False))
        up, down = (find(f"{prefix}mlp.experts.mlp.{name}", rows, self.width) for name in ("w1", "w2"))
        experts = [partial(self._expert, ops, up, down, number) for number in range(self.count)]
        mixed = ops.mix_experts(states, scores, self.most, experts)
        return ops.shift(mixed, find(f"{prefix}mlp.experts.bias", self.width))

    def _expert(self, ops: Ops[V], up: Tensor, down: Tensor, number: int, states: V) -> V:
        begin, end = number * self.inner_width, (number + 1) * self.inner_width
        inner = ops.activate(ops.dense(states, Linear(up.rows(begin, end))), self.activation)
        return ops.dense(inner, Linear(down.rows(begin, end).transposed()))


def read_mixture_of_experts(
    config: ModelConfig, width: int, inner_width: int, activation: Activation
) -> MixtureOfExperts | None:
    """Read the experts of a config with the keys of Nomic's authors; None if it has none.

    Raises:
        ModelError: A value is not supported; the message names it and its key.
    """
    every = config.number("moe_every_n_layers", 0)
    if not every:
        return None
    for key in _REFUSED:
        if config.flag(key, default=False):
            raise ModelError(f"{config.file}: `{key}` is true", "supported: false")
    shared = config.number("num_shared_experts", 0)
    count, most = config.number("num_experts"), config.number("moe_top_k")
    for key, value, is_supported, hint in (
        ("moe_every_n_layers", every, every > 1, "from 2"),
        ("num_shared_experts", shared, not shared, "0"),
        ("moe_top_k", most, 1 <= most <= count, f"from 1 to `num_experts`, {count}"),
    ):
        if not is_supported:
            raise ModelError(f"{config.file}: `{key}` is {value}", f"supported: {hint}")
    return MixtureOfExperts(count, most, every, width, inner_width, activation)
