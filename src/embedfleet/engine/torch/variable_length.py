"""Attention over concatenated sequences in one call, whatever their lengths.

The kernels of a GPU come from PyTorch or from flash-attn. Before one is used, `choose` compares it with attention
computed by definition, on the same device. So a kernel that is missing, that the GPU does not support, or that computes
something else is never used.
"""

import importlib
import inspect
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor as Values
from torch.nn import functional
from typing_extensions import override

from embedfleet.engine.families.ops import Attention

log = logging.getLogger(__name__)

_WIDEST_HEAD = 256  # of flash attention
# Largest difference of a kernel from attention by definition, for normally distributed numbers. The mean of some of
# them is about 1, so these are two and a half steps of each type.
_TOLERANCES = {torch.float32: 1e-5, torch.float16: 2.5e-3, torch.bfloat16: 2e-2}
_CHECKED_LENGTHS = (3, 170, 1, 64, 0)
_CHECKED = (
    Attention(4, 64),
    Attention(4, 64, is_causal=True),
    Attention(4, 64, key_heads=2),
    Attention(4, 64, window=5),
    Attention(4, 64, is_causal=True, window=5),
)


class VariableLength(ABC):
    """A kernel for attention over concatenated sequences.

    Attributes:
        name: Name for the log.
    """

    name: str

    @abstractmethod
    def computes(self, attention: Attention) -> bool:
        """Whether the kernel can compute this attention."""

    @abstractmethod
    def __call__(
        self, query: Values, key: Values, value: Values, *, boundaries: Values, longest: int, attention: Attention
    ) -> Values:
        """Compute attention within each sequence.

        Args:
            query: Queries, [tokens, heads, size].
            key: Keys, [tokens, key_heads, size].
            value: Values, [tokens, key_heads, size].
            boundaries: First token of each sequence, and the number of all tokens, int32, [sequences + 1]. Sequences
                may be empty.
            longest: Upper bound of a sequence's number of tokens.
            attention: Heads and mask.

        Returns:
            Mixed values, [tokens, heads, size].
        """


class ByDefinition(VariableLength):
    """Attention by definition: all pairs of tokens are computed, and those of different sequences are hidden.

    It runs on any device, but its time and memory grow with the square of the batch's tokens. So it only checks other
    kernels, and takes their place in tests without a GPU.
    """

    name = "attention by definition"

    @override
    def computes(self, attention: Attention) -> bool:
        return attention.bias is None

    @override
    def __call__(
        self, query: Values, key: Values, value: Values, *, boundaries: Values, longest: int, attention: Attention
    ) -> Values:
        places = torch.arange(len(query), device=query.device)
        owner = torch.searchsorted(boundaries[1:].contiguous(), places, right=True)
        after = places[None, :] - places[:, None]
        is_seen = owner[None, :] == owner[:, None]
        if attention.is_causal:
            is_seen &= after <= 0
        if attention.window is not None:
            is_seen &= after.abs() <= attention.window
        parts = [part.transpose(0, 1)[None] for part in (query, key, value)]
        mixed = functional.scaled_dot_product_attention(
            parts[0],
            parts[1],
            parts[2],
            attn_mask=is_seen,
            enable_gqa=attention.heads != attention.key_heads,
        )
        return mixed[0].transpose(0, 1)


class Flash(VariableLength):
    """Flash attention of some library, in half precision."""

    _run: Callable[..., Any]  # the library's function

    @override
    def computes(self, attention: Attention) -> bool:
        return attention.bias is None and attention.head_size % 8 == 0 and attention.head_size <= _WIDEST_HEAD

    @override
    def __call__(
        self, query: Values, key: Values, value: Values, *, boundaries: Values, longest: int, attention: Attention
    ) -> Values:
        parts = (query, key, value, boundaries, boundaries, longest, longest)
        mixed: Values = self._run(*parts, window_size=_reach(attention), **self._options(attention))
        return mixed

    @abstractmethod
    def _options(self, attention: Attention) -> dict[str, bool]:
        """Options of the library's function for an attention, besides the window."""


class TorchFlash(Flash):
    """PyTorch's own flash attention (`torch.nn.attention.varlen`).

    Raises:
        ImportError: This PyTorch does not have it, or has a version without windows or grouped heads.
    """

    name = "torch.nn.attention.varlen"

    def __init__(self) -> None:
        self._run = importlib.import_module("torch.nn.attention.varlen").varlen_attn
        missing = {"window_size", "enable_gqa"} - set(inspect.signature(self._run).parameters)
        if missing:
            raise ImportError(f"PyTorch {torch.__version__} has no {', '.join(sorted(missing))}")

    @override
    def _options(self, attention: Attention) -> dict[str, bool]:
        return {"enable_gqa": attention.heads != attention.key_heads}


class FlashPackage(Flash):
    """The package flash-attn.

    Raises:
        ImportError: It is not installed.
    """

    name = "flash_attn"

    def __init__(self) -> None:
        self._run = importlib.import_module("flash_attn").flash_attn_varlen_func

    @override
    def _options(self, attention: Attention) -> dict[str, bool]:
        return {"causal": attention.is_causal}


class TorchEfficient(VariableLength):
    """PyTorch's memory-efficient attention, which older GPUs and float32 have too; it has no windows."""

    name = "aten::_efficient_attention_forward"
    _CAUSAL = 1  # each sequence's first query sees its first key

    @override
    def computes(self, attention: Attention) -> bool:
        return attention.bias is None and attention.window is None and attention.head_size % 8 == 0

    @override
    def __call__(
        self, query: Values, key: Values, value: Values, *, boundaries: Values, longest: int, attention: Attention
    ) -> Values:
        times = attention.heads // attention.key_heads
        if times > 1:
            key, value = (part.repeat_interleave(times, dim=1) for part in (key, value))
        mask = self._CAUSAL if attention.is_causal else 0
        found = torch.ops.aten._efficient_attention_forward(  # noqa: SLF001 - PyTorch's nested tensors call it too
            *(query[None], key[None], value[None], None, boundaries, boundaries, longest, longest, 0.0, mask),
        )
        mixed: Values = found[0][0]
        return mixed


def kernels_of_gpu() -> Sequence[Callable[[], VariableLength]]:
    """Kernels to try on a GPU, best first."""
    return (FlashPackage, TorchFlash, TorchEfficient)


def choose(
    kernels: Sequence[Callable[[], VariableLength]], device: torch.device, dtype: torch.dtype
) -> VariableLength | None:
    """Choose the first kernel that computes what it should on a device; None if none does, which the log explains.

    Args:
        kernels: Functions that make the kernels, best first.
        device: Device that will compute.
        dtype: Number type that it will compute in.
    """
    for make in kernels:
        try:
            kernel = make()
            worst = _worst_difference(kernel, device, dtype)
        except Exception as error:  # noqa: BLE001 - a kernel may fail in any way
            log.info("attention kernel %s is not used: %s", make.__name__, str(error).split("\n", 1)[0])
            continue
        if worst <= _TOLERANCES[dtype]:
            log.info("attention kernel: %s, which differs from %s by %.1g", kernel.name, ByDefinition.name, worst)
            return kernel
        log.warning("attention kernel %s is not used: it computes something else, by %.2g", kernel.name, worst)
    return None


def _worst_difference(kernel: VariableLength, device: torch.device, dtype: torch.dtype) -> float:
    """Largest difference of a kernel's results from those by definition; infinite if one is not a number."""
    chance = torch.Generator().manual_seed(7)
    lengths = torch.tensor(_CHECKED_LENGTHS)
    boundaries = torch.cat([torch.zeros(1), lengths.cumsum(0)]).to(device, torch.int32)
    worst, exact = 0.0, ByDefinition()
    for attention in filter(kernel.computes, _CHECKED):
        parts = [
            torch.randn(int(lengths.sum()), heads, attention.head_size, generator=chance).to(device, dtype)
            for heads in (attention.heads, attention.key_heads, attention.key_heads)
        ]
        query, key, value = parts
        longest = int(lengths.max())
        found = kernel(query, key, value, boundaries=boundaries, longest=longest, attention=attention)
        query, key, value = (part.float() for part in parts)
        wanted = exact(query, key, value, boundaries=boundaries, longest=longest, attention=attention)
        difference = float((found.float() - wanted).abs().max())
        worst = max(worst, math.inf if math.isnan(difference) else difference)
    return worst


def _reach(attention: Attention) -> tuple[int, int]:
    """How many tokens before and after a query it attends to, -1 for all."""
    far = -1 if attention.window is None else attention.window
    return far, 0 if attention.is_causal else far
