"""Small seeded models in Hugging Face layout, and their outputs in transformers."""

import json
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from embedfleet.engine.model.builtin import builtin_model

VOCABULARY = 250_002  # size of XLM-RoBERTa's vocabulary
SPREAD = 0.2  # ten times the usual deviation, so that the outputs of inputs differ


def xlm_tokenizer() -> Path:
    spec = find_spec("semantra_multilingual")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets" / "multilingual-e5-small" / "tokenizer.json"


def make_xlm(
    folder: Path, *, labels: int = 0, pooling: str | None = "cls", dtype: str = "float32", seed: int = 0
) -> Path:
    """Save an XLM-RoBERTa of two narrow layers; with labels, a sequence classifier."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaModel

    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        initializer_range=SPREAD,
        pad_token_id=1,
        num_labels=labels or 2,
    )
    model = XLMRobertaForSequenceClassification(config) if labels else XLMRobertaModel(config, add_pooling_layer=False)
    return save(model, folder, xlm_tokenizer(), pooling=None if labels else pooling, dtype=dtype)


def make_bert(folder: Path, *, labels: int = 0, seed: int = 0) -> Path:
    """Save a BERT of two narrow layers with MiniLM's tokenizer; without labels, a masked language model."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=SPREAD,
        num_labels=labels or 2,
    )
    model = BertForSequenceClassification(config) if labels else BertForMaskedLM(config)
    return save(model, folder, builtin_model() / "tokenizer.json", pooling=None, dtype="float32")


def save(model, folder: Path, tokenizer: Path, *, pooling: str | None, dtype: str) -> Path:
    import torch

    model.to(getattr(torch, dtype)).save_pretrained(folder, safe_serialization=True)
    shutil.copy(tokenizer, folder / "tokenizer.json")
    if pooling:
        keys = {"cls": "cls_token", "mean": "mean_tokens", "last_token": "lasttoken"}
        config = {f"pooling_mode_{key}": name == pooling for name, key in keys.items()}
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return folder


class Reference:
    """A folder's model in transformers, called with one input at a time, in float32."""

    def __init__(self, folder: Path, *, classifier: bool = False) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoModel, AutoModelForSequenceClassification

        auto = AutoModelForSequenceClassification if classifier else AutoModel
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = auto.from_pretrained(folder).float().eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()

    def encode(self, item: str | tuple[str, str], limit: int):
        self._tokenizer.enable_truncation(limit)
        return self._tokenizer.encode(*item) if isinstance(item, tuple) else self._tokenizer.encode(item)

    def states(self, text: str, limit: int) -> np.ndarray:
        """Last hidden states, [tokens, hidden]."""
        return self._run(text, limit).last_hidden_state[0].numpy()

    def logits(self, item: str | tuple[str, str], limit: int) -> np.ndarray:
        """Logits, [labels]."""
        return self._run(item, limit).logits[0].numpy()

    def _run(self, item, limit: int):
        import torch

        encoding = self.encode(item, limit)
        feeds = {"input_ids": torch.tensor([encoding.ids]), "attention_mask": torch.ones(1, len(encoding.ids))}
        if self._model.config.type_vocab_size > 1:
            feeds["token_type_ids"] = torch.tensor([encoding.type_ids])
        with torch.no_grad():
            return self._model(**feeds)
