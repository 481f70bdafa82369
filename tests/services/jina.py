"""A second implementation of JinaBERT, in PyTorch, since no library of the tests has one.

It takes one input at a time.

From the papers: ALiBi (Press et al. 2022, here for both directions), GEGLU (Shazeer 2020) and BERT's post-norm layers,
with the tensor names of jina-embeddings-v2-base-en.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from embedfleet.engine.model.builtin import builtin_model
from tests.services.models import SPREAD

WIDTH, WIDE, LAYERS, VOCABULARY = 24, 40, 2, 30522
EPSILON = 1e-12
SLOPES = {2: [2**-4, 2**-8], 3: [2**-4, 2**-8, 2**-2], 6: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]}
"""Number of heads → slopes by the paper's rule, computed by hand."""


def make_jina(folder: Path, *, heads: int, longest: int, architecture: str = "JinaBertModel", labels: int = 1) -> Path:
    """Save a small seeded model in the layout of jina-embeddings-v2-base-en."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir()
    save_file(
        {name: torch.randn(shape) * SPREAD for name, shape in _shapes(labels).items()}, folder / "model.safetensors"
    )
    config = {
        "model_type": "bert",
        "architectures": [architecture],
        "position_embedding_type": "alibi",
        "feed_forward_type": "geglu",
        "hidden_size": WIDTH,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": heads,
        "vocab_size": VOCABULARY,
        "type_vocab_size": 2,
        "max_position_embeddings": longest,
        "layer_norm_eps": EPSILON,
        "id2label": {str(number): f"L{number}" for number in range(labels)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    shutil.copy(builtin_model() / "tokenizer.json", folder)
    return folder


def _shapes(labels: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "pooler.dense.weight": (WIDTH, WIDTH),
        "pooler.dense.bias": (WIDTH,),
        "classifier.weight": (labels, WIDTH),
        "classifier.bias": (labels,),
    }
    shapes |= {
        "cls.predictions.bias": (VOCABULARY,),
        "cls.predictions.transform.dense.weight": (WIDTH, WIDTH),
        "cls.predictions.transform.dense.bias": (WIDTH,),
    }
    norms = ["embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{layer}attention.{name}.weight"] = (WIDTH, WIDTH)
            shapes[f"{layer}attention.{name}.bias"] = (WIDTH,)
        shapes[f"{layer}mlp.gated_layers.weight"] = (2 * WIDE, WIDTH)
        shapes[f"{layer}mlp.wo.weight"] = (WIDTH, WIDE)
        shapes[f"{layer}mlp.wo.bias"] = (WIDTH,)
        norms += [f"{layer}attention.output.LayerNorm", f"{layer}mlp.layernorm"]
    return shapes | {f"{norm}.{part}": (WIDTH,) for norm in norms for part in ("weight", "bias")}


class JinaReference:
    """The model in a folder that `make_jina` wrote."""

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file

        self._tensors = load_file(folder / "model.safetensors")
        self._heads = json.loads((folder / "config.json").read_text())["num_attention_heads"]

    def states(self, encoded) -> np.ndarray:
        """Last hidden states, [tokens, width]."""
        return self._states(encoded).numpy()

    def logits(self, encoded) -> np.ndarray:
        """Logits, [labels]."""
        pooled = self._dense("pooler.dense", self._states(encoded)[0]).tanh()
        return self._dense("classifier", pooled).numpy()

    def words(self, encoded) -> np.ndarray:
        """Word logits of a tied decoder, [tokens, vocabulary]."""
        from torch.nn.functional import gelu

        head = "cls.predictions"
        states = gelu(self._dense(f"{head}.transform.dense", self._states(encoded)))
        states = self._norm(f"{head}.transform.LayerNorm", states)
        table = self._tensors["embeddings.word_embeddings.weight"]
        return (states @ table.T + self._tensors[f"{head}.bias"]).numpy()

    def _states(self, encoded):
        import torch
        from torch.nn.functional import gelu, linear

        words = self._tensors["embeddings.word_embeddings.weight"][torch.tensor(encoded.ids).long()]
        types = self._tensors["embeddings.token_type_embeddings.weight"][torch.tensor(encoded.types).long()]
        states = self._norm("embeddings.LayerNorm", words + types)
        for number in range(LAYERS):
            layer = f"encoder.layer.{number}."
            mixed = self._dense(f"{layer}attention.output.dense", self._attend(f"{layer}attention.self.", states))
            states = self._norm(f"{layer}attention.output.LayerNorm", mixed + states)
            gate, up = linear(states, self._tensors[f"{layer}mlp.gated_layers.weight"]).chunk(2, dim=-1)
            states = self._norm(f"{layer}mlp.layernorm", self._dense(f"{layer}mlp.wo", gelu(gate) * up) + states)
        return states

    def _attend(self, prefix: str, states):
        import torch

        places = torch.arange(len(states))
        far = (places[:, None] - places[None, :]).abs()
        size, mixed = WIDTH // self._heads, []
        query, key, value = (self._dense(prefix + name, states) for name in ("query", "key", "value"))
        for head, slope in enumerate(SLOPES[self._heads]):
            part = slice(head * size, (head + 1) * size)
            scores = query[:, part] @ key[:, part].T / size**0.5 - slope * far
            mixed.append(scores.softmax(dim=-1) @ value[:, part])
        return torch.cat(mixed, dim=-1)

    def _dense(self, name: str, states):
        return states @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]

    def _norm(self, name: str, states):
        from torch.nn.functional import layer_norm

        return layer_norm(states, (WIDTH,), self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"], EPSILON)
