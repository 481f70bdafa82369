"""Mistral (Jiang et al. 2023), as e5-mistral uses it: causal, and in a window where the config states one."""

from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.decoder import Build, Decoder, is_causal, read_activation, read_heads
from embedfleet.engine.families.rotary import read_rotary
from embedfleet.engine.families.sight import Sight, read_window
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


class Mistral(Decoder):
    """See `Family`. All layers are alike, and nothing has a bias."""

    model_types: ClassVar[tuple[str, ...]] = ("mistral",)

    def __init__(self, config: ModelConfig) -> None:
        if config.values.get("layer_types"):
            raise ModelError(f"{config.file}: `layer_types` is stated", "supported: Mistral whose layers are alike")
        attention = read_heads(config, causal=is_causal(config), key_heads=8)
        window = read_window(config, 4096)
        if window is not None:  # transformers counts the token itself where it sees only those before it
            attention = replace(attention, window=window - 1 if attention.causal else window)
        sight = Sight(attention, read_rotary(config, attention.head_size, theta=10_000.0))
        sights = [sight] * config.number("num_hidden_layers")
        super().__init__(config, Build(sights, read_activation(config)), positions=131_072)
