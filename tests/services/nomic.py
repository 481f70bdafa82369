"""A second implementation of Nomic-BERT with a mixture of experts, in numpy, which computes experts token by token.

No library of the tests has one: transformers' NomicBert has no experts. It follows the papers (Nussbaum et al. 2024;
Nussbaum and Duderstadt 2025; Su et al. 2021 for rotary embeddings), with the tensor names of nomic-embed-text-v2-moe.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np

from embedfleet.engine.model.builtin import builtin_model
from tests.services.models import SPREAD

WIDTH, WIDE, HEADS, VOCABULARY = 24, 40, 3, 30522
BASE, EPSILON = 10000, 1e-5
CONFIG = {
    "model_type": "nomic_bert",
    "architectures": ["NomicBertModel"],
    "auto_map": {
        "AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
        "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel",
        "AutoModelForMaskedLM": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertForPreTraining",
    },
    "activation_function": "gelu",
    "causal": False,
    "expert_choice_router": False,
    "layer_norm_epsilon": EPSILON,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": True,
    "mlp_fc2_bias": True,
    "moe_every_n_layers": 2,
    "moe_impl": "megablocks",
    "moe_normalize_expert_weights": False,
    "moe_top_k": 2,
    "n_embd": WIDTH,
    "n_head": HEADS,
    "n_inner": WIDE,
    "n_layer": 4,
    "num_experts": 8,
    "num_shared_experts": 0,
    "pad_vocab_size_multiple": 64,
    "parallel_block": False,
    "prenorm": False,
    "qkv_proj_bias": True,
    "rotary_emb_base": BASE,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "type_vocab_size": 1,
    "use_rms_norm": None,
    "vocab_size": VOCABULARY,
}
"""Config of nomic-embed-text-v2-moe with smaller sizes."""


def make_nomic(folder: Path, *, longest: int, **more: object) -> Path:
    """Save a small seeded model in the layout of nomic-embed-text-v2-moe, with ``more`` keys in its config.json."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir()
    config = CONFIG | {"n_positions": longest} | more
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: torch.randn(shape) * SPREAD for name, shape in _shapes(config).items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    shutil.copy(builtin_model() / "tokenizer.json", folder)
    return folder


def has_experts(config, number: int) -> bool:
    every = config["moe_every_n_layers"]
    return every > 0 and number % every == 1


def _shapes(config) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (-(-VOCABULARY // 64) * 64, WIDTH),
        "embeddings.token_type_embeddings.weight": (1, WIDTH),
    }
    norms = ["emb_ln"]
    for number in range(config["n_layer"]):
        layer = f"encoder.layers.{number}."
        dense = {"attn.Wqkv": (3 * WIDTH, WIDTH), "attn.out_proj": (WIDTH, WIDTH)}
        has_bias = dict.fromkeys(dense, config["qkv_proj_bias"])
        if has_experts(config, number):
            rows = config["num_experts"] * WIDE
            shapes |= {f"{layer}mlp.experts.mlp.{name}": (rows, WIDTH) for name in ("w1", "w2")}
            shapes |= {f"{layer}mlp.router.layer.weight": (config["num_experts"], WIDTH)}
            shapes |= {f"{layer}mlp.experts.bias": (WIDTH,)}
        else:
            names = ("fc1",) if config["activation_function"] == "gelu" else ("fc11", "fc12")
            dense |= {f"mlp.{name}": (WIDE, WIDTH) for name in names} | {"mlp.fc2": (WIDTH, WIDE)}
            has_bias |= {f"mlp.{name}": config["mlp_fc1_bias"] for name in names}
            has_bias["mlp.fc2"] = config["mlp_fc2_bias"]
        shapes |= {f"{layer}{name}.weight": shape for name, shape in dense.items()}
        shapes |= {f"{layer}{name}.bias": shape[:1] for name, shape in dense.items() if has_bias[name]}
        norms += [f"{layer}norm1", f"{layer}norm2"]
    return shapes | {f"{norm}.{part}": (WIDTH,) for norm in norms for part in ("weight", "bias")}


class NomicReference:
    """The model in a folder that `make_nomic` wrote, in float64."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        self._config = json.loads((folder / "config.json").read_text())
        self._tensors = {name: of.astype(float) for name, of in load_file(folder / "model.safetensors").items()}

    def states(self, encoded) -> np.ndarray:
        """Last hidden states, [tokens, width]."""
        words = self._tensors["embeddings.word_embeddings.weight"][encoded.ids]
        states = self._norm("emb_ln", words + self._tensors["embeddings.token_type_embeddings.weight"][0])
        for number in range(self._config["n_layer"]):
            layer = f"encoder.layers.{number}."
            states = self._norm(f"{layer}norm1", states + self._attend(f"{layer}attn.", states))
            feed = self._experts if has_experts(self._config, number) else self._feed
            states = self._norm(f"{layer}norm2", states + feed(f"{layer}mlp.", states))
        return states

    def _attend(self, name: str, states: np.ndarray) -> np.ndarray:
        size, mixed = WIDTH // HEADS, []
        parts = np.split(self._dense(f"{name}Wqkv", states), 3 * HEADS, axis=1)
        for head in range(HEADS):
            query, key, value = _turned(parts[head]), _turned(parts[HEADS + head]), parts[2 * HEADS + head]
            scores = np.exp(query @ key.T / math.sqrt(size))
            mixed.append(scores / scores.sum(axis=1, keepdims=True) @ value)
        return self._dense(f"{name}out_proj", np.concatenate(mixed, axis=1))

    def _feed(self, name: str, states: np.ndarray) -> np.ndarray:
        kind = self._config["activation_function"]
        if kind == "gelu":
            return self._dense(f"{name}fc2", _gelu(self._dense(f"{name}fc1", states)))
        gate, up = self._dense(f"{name}fc12", states), self._dense(f"{name}fc11", states)
        opened = gate / (1 + np.exp(-gate)) if kind == "swiglu" else _gelu(gate)
        return self._dense(f"{name}fc2", opened * up)

    def _experts(self, name: str, states: np.ndarray) -> np.ndarray:
        """Output of each token's best experts, weighted by the router's softmax over all experts, not renormalised."""
        count, rows = self._config["num_experts"], []
        up, down = (self._tensors[f"{name}experts.mlp.{part}"].reshape(count, WIDE, WIDTH) for part in ("w1", "w2"))
        activate = _gelu if self._config["activation_function"] == "gelu" else lambda x: x / (1 + np.exp(-x))
        for state in states:
            shares = np.exp(self._tensors[f"{name}router.layer.weight"] @ state)
            shares /= shares.sum()
            chosen = np.argsort(-shares)[: self._config["moe_top_k"]]
            rows.append(sum(shares[one] * (activate(up[one] @ state) @ down[one]) for one in chosen))
        return np.array(rows) + self._tensors[f"{name}experts.bias"]

    def _dense(self, name: str, states: np.ndarray) -> np.ndarray:
        return states @ self._tensors[f"{name}.weight"].T + self._tensors.get(f"{name}.bias", 0.0)

    def _norm(self, name: str, states: np.ndarray) -> np.ndarray:
        centred = states - states.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        return centred / spread * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]


def _turned(part: np.ndarray) -> np.ndarray:
    """Rotate each pair (e, e + half), as a complex number, by the position times the pair's angle."""
    half = part.shape[1] // 2
    angles = np.arange(len(part))[:, None] * BASE ** (-np.arange(half) / half)
    turned = (part[:, :half] + 1j * part[:, half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], axis=1)


def _gelu(values: np.ndarray) -> np.ndarray:
    return values * (1 + np.vectorize(math.erf)(values / math.sqrt(2))) / 2
