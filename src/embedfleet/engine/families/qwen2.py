"""Qwen2 (Yang et al. 2024), as gte-Qwen2 uses it, which looks both ways, or causal."""

from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.decoder import Build, Decoder, is_causal, read_activation, read_heads
from embedfleet.engine.families.ops import Attention
from embedfleet.engine.families.rotary import read_rotary
from embedfleet.engine.families.sight import FULL, LOCAL, Sight, read_kinds, read_window
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


class Qwen2(Decoder):
    """See `Family`. Queries, keys and values have biases, and nothing else has."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen2",)

    def __init__(self, config: ModelConfig) -> None:
        attention = read_heads(config, causal=is_causal(config), key_heads=32)
        build = Build(sights=read_sights(config, attention), activation=read_activation(config), input_bias=True)
        super().__init__(config, build, positions=32_768)


def read_sights(config: ModelConfig, attention: Attention) -> list[Sight]:
    """Of each layer of a Qwen: with ``use_sliding_window`` those from ``max_window_layers`` on look nearby only.

    Args:
        config: of the model.
        attention: of a layer that does not.

    Raises:
        ModelError: layers look nearby, and it is not stated how far.
    """
    window = read_window(config, 4096) if config.flag("use_sliding_window", default=False) else None
    count, first = config.number("num_hidden_layers"), config.number("max_window_layers", 28)
    kinds = read_kinds(
        config, count, [LOCAL if window is not None and number >= first else FULL for number in range(count)]
    )
    rotary = read_rotary(config, attention.head_size, theta=10_000.0)
    if LOCAL not in kinds:
        return [Sight(attention, rotary)] * count
    if window is None:
        raise ModelError(
            f"{config.file}: `layer_types` names {LOCAL}, and there is no window",
            "set `use_sliding_window` to true and `sliding_window` to its tokens",
        )
    # transformers counts the token itself where it sees only those before it.
    nearby = replace(attention, window=window - 1 if attention.causal else window)
    return [Sight(nearby if kind == LOCAL else attention, rotary) for kind in kinds]
