"""A second implementation of jina-embeddings-v2-base-code, in numpy, since no library of the tests has one.

It takes one input at a time. It follows the papers, as `tests.services.jina`, with the tensor names of
jina-embeddings-v2-base-code. Queries and keys are normalised over their whole width (Henry et al. 2020). After
attention, its input is added a second time and normalised again.
"""

import json
import math
from pathlib import Path

import numpy as np

from tests.services.jina import EPSILON, LAYERS, SLOPES, VOCABULARY, WIDE, WIDTH, make_jina
from tests.services.models import SPREAD

_SAME = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
_NORMS = (
    "attention.self.layer_norm_q",
    "attention.self.layer_norm_k",
    "attention.output.LayerNorm",
    "layer_norm_1",
    "layer_norm_2",
)
AUTO_MAP = {
    "AutoConfig": "jinaai/jina-bert-v2-qk-post-norm--configuration_bert.JinaBertConfig",
    "AutoModelForMaskedLM": "jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertForMaskedLM",
    "AutoModel": "jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel",
}


def make_jina_code(
    folder: Path, *, heads: int, longest: int, gate: str = "geglu", architecture: str = "JinaBertForMaskedLM"
) -> Path:
    """Save a small seeded model in the layout of jina-embeddings-v2-base-code, with its prefix."""
    import torch
    from safetensors.torch import load_file, save_file

    make_jina(folder, heads=heads, longest=longest, architecture=architecture)
    torch.manual_seed(1)
    tensors = load_file(folder / "model.safetensors")
    kept = {name: values for name, values in tensors.items() if ".layer." not in name}
    tensors = {name if name.startswith("cls") else f"bert.{name}": values for name, values in kept.items()}
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(LAYERS):
        layer = f"bert.encoder.layer.{number}."
        shapes |= {f"{layer}{name}.weight": (WIDTH, WIDTH) for name in _SAME}
        shapes |= {f"{layer}{name}.bias": (WIDTH,) for name in _SAME}
        shapes |= {f"{layer}{name}.{part}": (WIDTH,) for name in _NORMS for part in ("weight", "bias")}
        shapes[f"{layer}mlp.up_gated_layer.weight"] = (2 * WIDE, WIDTH)
        shapes |= {f"{layer}mlp.down_layer.weight": (WIDTH, WIDE), f"{layer}mlp.down_layer.bias": (WIDTH,)}
    tensors |= {name: torch.randn(shape) * SPREAD for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": AUTO_MAP, "feed_forward_type": gate}))
    return folder


class JinaCodeReference:
    """The model in a folder that `make_jina_code` wrote, in float64."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        config = json.loads((folder / "config.json").read_text())
        self._heads, self._gate = config["num_attention_heads"], config["feed_forward_type"]
        self._tensors = {name: of.astype(float) for name, of in load_file(folder / "model.safetensors").items()}

    def states(self, encoded) -> np.ndarray:
        """Last hidden states, [tokens, width]."""
        table, types = (self._tensors[f"bert.embeddings.{name}_embeddings.weight"] for name in ("word", "token_type"))
        states = self._norm("bert.embeddings.LayerNorm", table[encoded.ids] + types[encoded.types])
        for number in range(LAYERS):
            states = self._layer(f"bert.encoder.layer.{number}.", states)
        return states

    def words(self, encoded) -> np.ndarray:
        """Word logits of a tied decoder, [tokens, vocabulary]."""
        head = "cls.predictions"
        hidden = _gelu(self._dense(f"{head}.transform.dense", self.states(encoded)))
        table = self._tensors["bert.embeddings.word_embeddings.weight"]
        assert len(table) == VOCABULARY
        return self._norm(f"{head}.transform.LayerNorm", hidden) @ table.T + self._tensors[f"{head}.bias"]

    def _layer(self, layer: str, states: np.ndarray) -> np.ndarray:
        own = f"{layer}attention.self."
        query = self._norm(f"{own}layer_norm_q", self._dense(f"{own}query", states))
        key = self._norm(f"{own}layer_norm_k", self._dense(f"{own}key", states))
        value, size, mixed = self._dense(f"{own}value", states), WIDTH // self._heads, []
        far = np.abs(np.subtract.outer(np.arange(len(states)), np.arange(len(states))))
        for head, slope in enumerate(SLOPES[self._heads]):
            part = slice(head * size, (head + 1) * size)
            scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(size) - slope * far)
            mixed.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, part])
        given = self._dense(f"{layer}attention.output.dense", np.concatenate(mixed, axis=1))
        attended = self._norm(f"{layer}attention.output.LayerNorm", given + states)
        states = self._norm(f"{layer}layer_norm_1", attended + states)
        up, gate = np.split(states @ self._tensors[f"{layer}mlp.up_gated_layer.weight"].T, 2, axis=1)
        opened = _gelu(gate) if self._gate == "geglu" else np.maximum(gate, 0)
        return self._norm(f"{layer}layer_norm_2", self._dense(f"{layer}mlp.down_layer", opened * up) + states)

    def _dense(self, name: str, states: np.ndarray) -> np.ndarray:
        return states @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]

    def _norm(self, name: str, states: np.ndarray) -> np.ndarray:
        centred = states - states.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        return centred / spread * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]


def _gelu(values: np.ndarray) -> np.ndarray:
    return values * (1 + np.vectorize(math.erf)(values / math.sqrt(2))) / 2
