"""Small seeded models of every family, and comparison of the engine with transformers on them."""

import asyncio
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute.output import Output
from embedfleet.engine.engine import load
from embedfleet.engine.families.registry import read_family
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.model import own_model
from embedfleet.engine.onnx.packed_model import packed_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError
from embedfleet.metrics import TEI, Registry
from embedfleet.model_folder.config import ModelConfig
from tests.services.models import SPREAD

TOLERANCE = 1e-5
BACKENDS = ("onnx", "torch")
LONGEST = 48
VOCABULARY = 30522  # size of MiniLM's tokenizer
NARROW = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": SPREAD,
}
CAUSAL = NARROW | {"max_position_embeddings": LONGEST, "num_key_value_heads": 2, "pad_token_id": 0}


@dataclass(frozen=True)
class Made:
    """Recipe of a small model of a family.

    Attributes:
        name: Start of the names of its classes in transformers.
        config: Config of a model for inputs of up to `LONGEST` tokens.
        heads: Ends of the names of its classes.
    """

    name: str
    config: dict[str, object]
    heads: tuple[str, ...] = ("Model", "ForSequenceClassification", "ForMaskedLM")


FAMILIES = {
    "bert": Made("Bert", NARROW | {"max_position_embeddings": LONGEST}),
    "deberta-v2": Made(
        "DebertaV2",
        NARROW
        | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
        | {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
        | {"max_position_embeddings": LONGEST},
    ),
    "electra": Made("Electra", NARROW | {"embedding_size": 16, "max_position_embeddings": LONGEST}),
    "albert": Made(
        "Albert",
        NARROW | {"embedding_size": 16, "num_hidden_groups": 2, "max_position_embeddings": LONGEST},
    ),
    "roberta": Made("Roberta", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "xlm-roberta": Made("XLMRoberta", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "camembert": Made("Camembert", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "distilbert": Made(
        "DistilBert",
        {
            "vocab_size": VOCABULARY,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "initializer_range": SPREAD,
            "max_position_embeddings": LONGEST,
        },
    ),
    "mpnet": Made("MPNet", NARROW | {"max_position_embeddings": LONGEST + 2}),
    "modernbert": Made(
        "ModernBert",
        NARROW
        | {"num_hidden_layers": 4, "local_attention": 8, "max_position_embeddings": LONGEST}
        | {"bos_token_id": 101, "eos_token_id": 102, "cls_token_id": 101, "sep_token_id": 102, "pad_token_id": 0},
    ),
    "gte": Made("Gte", NARROW | {"max_position_embeddings": LONGEST, "type_vocab_size": 2}),
    "new": Made("Gte", NARROW | {"max_position_embeddings": LONGEST, "type_vocab_size": 1}),
    "nomic_bert": Made("NomicBert", NARROW | {"max_position_embeddings": LONGEST}),
    "qwen3": Made("Qwen3", CAUSAL | {"head_dim": 16}, ("Model", "ForSequenceClassification")),
    "qwen2": Made(
        "Qwen2",
        CAUSAL | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        ("Model", "ForSequenceClassification"),
    ),
    "mistral": Made("Mistral", CAUSAL | {"sliding_window": 8}, ("Model", "ForSequenceClassification")),
    "llama": Made("Llama", CAUSAL | {"attention_bias": True, "mlp_bias": True}, ("Model", "ForSequenceClassification")),
    "gemma3_text": Made(
        "Gemma3Text",
        CAUSAL
        | {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 9, "use_bidirectional_attention": True}
        | {"num_hidden_layers": 4, "layer_types": 3 * ["sliding_attention"] + ["full_attention"]},
        ("Model", "ForSequenceClassification"),
    ),
}
TEXTS = [
    "a",
    "two words",
    "deep learning on many short and long texts " * 2,
    "the longest text of all " * 30,
    "é 日 🙂",
]
PAIRS = [("what is a class?", text) for text in TEXTS] + [("a long query " * 30, "a long text " * 30)]


def save(folder: Path, made: Made, head: str, more: dict[str, object]) -> Path:
    """Save a seeded model of a family with one of its heads, and MiniLM's tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{made.name}Config")(**made.config | more)
    model = getattr(transformers, f"{made.name}{head}")(config)
    for name, parameter in model.named_parameters():  # a bias of 0 would hide that it is not read
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=SPREAD)
        elif "norm" in name.lower():  # norms of 1 or 0 could be swapped unnoticed
            parameter.data += SPREAD * torch.randn_like(parameter)
    model.save_pretrained(folder)
    shutil.copy(builtin_model() / "tokenizer.json", folder)
    if head == "Model":
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    return folder


def rewritten(folder: Path, target: Path, without: set[str], **values: object) -> Path:
    """Copy a model's folder, with a config.json without some keys and with other values."""
    shutil.copytree(folder, target)
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key not in without}
    (target / "config.json").write_text(json.dumps(kept | values))
    return target


def compute(folder, groups, *, direction="right", pooling=None, backend="onnx"):
    """Send each group of inputs in one request, and return the encoded inputs and their outputs."""
    choice = "auto" if pooling is None else pooling.value.replace("_", "-")
    settings = EngineSettings(model=str(folder), pooling=choice, batch_tokens=4096, backend=backend)
    engine = load(settings, Registry(TEI))

    async def ask(inputs):
        encoded = await engine.encode(inputs, truncate=True, direction=direction, prompt=None)
        inference = await engine.infer(encoded)
        return list(zip(encoded, [rows for (rows,) in inference.outputs], strict=True))

    async def ask_all():
        return [await ask(inputs) for inputs in groups]

    try:
        return asyncio.run(ask_all())
    finally:
        engine.close()


class Reference:
    """A folder's model in transformers, called with one input at a time."""

    def __init__(self, folder: Path, **options: object) -> None:
        import transformers

        (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = getattr(transformers, architecture).from_pretrained(folder, **options).eval()

    def __call__(self, encoded) -> np.ndarray:
        import torch

        feeds = {"input_ids": torch.tensor(encoded.ids[None]), "attention_mask": torch.ones(1, len(encoded.ids))}
        if getattr(self._model.config, "type_vocab_size", 0) > 1:
            feeds["token_type_ids"] = torch.tensor(encoded.types[None])
        with torch.no_grad():
            return self._model(**feeds)[0][0].numpy()


def splade(logits: np.ndarray) -> np.ndarray:
    """SPLADE's weight of each word, from the logits of one text."""
    return np.log1p(np.maximum(logits, 0)).max(axis=0)


def check(folder, groups, expected: Callable[[object], np.ndarray], **options) -> None:
    """Check that every backend computes the expected outputs of all inputs."""
    for backend in BACKENDS:
        for answers in compute(folder, groups, backend=backend, **options):
            for encoded, rows in answers:
                wanted = expected(encoded)
                np.testing.assert_allclose(rows, wanted, atol=TOLERANCE, rtol=TOLERANCE, err_msg=backend)


def check_packed(spec: ModelSpec, home: Path, *, worst: float = 1.0, mean: float = 1.0) -> None:
    """Check the error of int8 weights, and that packed weights compute the same when made and when found.

    Args:
        spec: Specification of the model.
        home: Folder to pack into.
        worst: Bound of the largest error of int8.
        mean: Bound of the mean error of int8.
    """
    (error,) = own_model(spec, int8=True).deviations
    assert error.worst < worst
    assert error.mean < mean
    ids = np.arange(1000, 1040)
    feeds = (ids, np.zeros_like(ids), np.array([3, 37]), (Output.STATES,))
    exact = make_backend(spec, EngineSettings(backend="onnx")).forward(*feeds)[0]
    for _ in range(2):  # made, then found
        model = packed_model(spec, home)
        assert model.files
        np.testing.assert_allclose(model.forward(*feeds)[0], exact, atol=1e-6)


def check_refused(folder: Path, config: dict[str, object], message: str) -> None:
    """Check that no family accepts a config.json, and that the error matches a pattern."""
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        read_family(ModelConfig(file))
