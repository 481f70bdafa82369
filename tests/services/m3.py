"""A small model in the folder layout of BAAI/bge-m3, and FlagEmbedding's outputs for it."""

import json
import sys
import types
import warnings
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

from tests.services.models import make_xlm

# Large packages that FlagEmbedding imports only for training and other models.
_UNUSED = {"datasets", "peft"}


def make_m3(folder: Path, *, seed: int = 0) -> Path:
    """Save an XLM-RoBERTa of two narrow layers with both heads, its weights in pytorch_model.bin as in BAAI/bge-m3."""
    import torch
    from safetensors.torch import load_file

    make_xlm(folder, seed=seed)
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    torch.manual_seed(seed + 1)
    sparse = torch.nn.Linear(width, 1)
    torch.nn.init.normal_(sparse.weight)
    torch.nn.init.constant_(sparse.bias, 1.0)  # a random head would give mostly negative weights, which are dropped
    torch.save(sparse.state_dict(), folder / "sparse_linear.pt")
    torch.save(torch.nn.Linear(width, width).state_dict(), folder / "colbert_linear.pt")
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
        "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.2.2"}},
        "special_tokens_map.json": {
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "mask_token": {"content": "<mask>", "lstrip": True, "normalized": False, "rstrip": False},
            "pad_token": "<pad>",
            "sep_token": "</s>",
            "unk_token": "<unk>",
        },
        "tokenizer_config.json": {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 128},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    return folder


class FlagEmbedding:
    """A folder's model in FlagEmbedding, in float32 on the CPU."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings(), _without(_UNUSED):
            warnings.simplefilter("ignore")
            from FlagEmbedding.inference.embedder.encoder_only.m3 import M3Embedder

            self._model = M3Embedder(str(folder), use_fp16=False, devices="cpu")

    def encode(self, texts, limit: int):
        """Compute ``dense_vecs``, ``lexical_weights`` and ``colbert_vecs``."""
        return self._model.encode_single_device(
            texts, max_length=limit, return_dense=True, return_sparse=True, return_colbert_vecs=True
        )

    def scores(self, query: str, text: str, limit: int, weights):
        """Scores of one pair by kind of scoring; a single pair is not padded."""
        return self._model.compute_score_single_device(
            [(query, text)],
            max_query_length=limit,
            max_passage_length=limit,
            weights_for_different_modes=weights,
            device="cpu",
        )


class _StandIns(MetaPathFinder, Loader):
    """Importable modules that hold only empty classes."""

    def __init__(self, names) -> None:
        self._names = names

    def find_spec(self, fullname, path=None, target=None):
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self._names else None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = _empty_class
        return module

    def exec_module(self, module) -> None:
        pass


def _empty_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


@contextmanager
def _without(names):
    stand_ins = _StandIns(names)
    sys.meta_path.append(stand_ins)
    try:
        yield
    finally:
        sys.meta_path.remove(stand_ins)
