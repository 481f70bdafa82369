"""Small model folders that sentence-transformers and transformers write, with changes that users make."""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.services.slow_tokenizers import WORDS, byte_pairs, sentence_pieces, without_sentencepiece, write_json

TEXTS = ["a red bird", "Red River café 東京", "stone " * 40 + "red", 'green, river? It\'s "over"!']
QUERY = "where sings the Bird?"
SPREAD = 0.2  # ten times the usual deviation, so that the outputs of inputs differ
POSITIONS = 64
_NARROW = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_NARROW |= {"initializer_range": SPREAD}
_ENCODER = {**_NARROW, "max_position_embeddings": POSITIONS}
_ROBERTA = {**_ENCODER, "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1, "type_vocab_size": 1}
_DECODER = {**_ENCODER, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
XLM = ["<unk>", "<s>", "</s>"]


@dataclass(frozen=True)
class Family:
    """Recipe of a family's small model: tokenizer and config."""

    tokenizer: str
    config: dict[str, Any]
    pooling: str = "mean"


FAMILIES = {
    "bert": Family("bert", _ENCODER),
    "electra": Family("bert", {**_ENCODER, "embedding_size": 16}),
    "distilbert": Family(
        "bert",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": POSITIONS}
        | {"initializer_range": SPREAD},
    ),
    "mpnet": Family("mpnet", {**_ENCODER, "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}),
    "roberta": Family("roberta", _ROBERTA),
    "xlm-roberta": Family("xlm-roberta", _ROBERTA),
    "camembert": Family("camembert", _ROBERTA),
    "modernbert": Family("bert", {**_ENCODER, "pad_token_id": 0, "local_attention": 8}),
    "nomic_bert": Family("bert", _ENCODER),
    "gte": Family("bert", {**_ENCODER, "type_vocab_size": 2}),
    "albert": Family("bert", {**_ENCODER, "embedding_size": 16}),
    "deberta-v2": Family("bert", {**_ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "qwen2": Family("bert", _DECODER, "lasttoken"),
    "qwen3": Family("bert", _DECODER, "lasttoken"),
    "mistral": Family("bert", {**_DECODER, "sliding_window": None}, "lasttoken"),
    "llama": Family("bert", _DECODER, "lasttoken"),
    "gemma3_text": Family("bert", {**_DECODER, "query_pre_attn_scalar": 8}),
}


@dataclass(frozen=True)
class Case:
    """A model folder and its use.

    Attributes:
        make: Function that writes the folder.
        task: Use of the model: embed, rerank, predict or sparse.
        base: Name of a case without the keys of this one, whose numbers must differ; empty for none.
        keys: Files and keys that this case sets.
        prompt: Name of the prompt in the request.
        of_length_one: Whether the libraries return unit vectors; we return them only if a request asks.
    """

    make: Callable[["Folders", Path], None]
    task: str = "embed"
    base: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    prompt: str | None = None
    of_length_one: bool = False


class Folders:
    """Maker of folders below another one; each model and tokenizer is made once."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._made: set[Path] = set()

    def tokenizer(self, name: str) -> Path:
        """Make a folder with the tokenizer that transformers saves."""
        folder = self.home / "tokenizers" / name
        if folder not in self._made:
            self._made.add(folder)
            self._save_tokenizer(name, folder)
        return folder

    def slow(self, name: str) -> Path:
        """Make a folder with a slow tokenizer's files and a config.json with only ``model_type``."""
        folder = self.home / "slow" / name
        if folder not in self._made:
            self._made.add(folder)
            if name in {"bert", "mpnet"}:
                folder.mkdir(parents=True)
                (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
                write_json(folder / "config.json", {"model_type": name})
            elif name == "roberta":
                byte_pairs(folder, name, {})
            else:
                sentence_pieces(folder, "sentencepiece.bpe.model", name, {}, XLM, most=600)
        return folder

    def _save_tokenizer(self, name: str, folder: Path) -> None:
        from transformers import AutoTokenizer

        with without_sentencepiece():
            AutoTokenizer.from_pretrained(self.slow(name), model_max_length=POSITIONS).save_pretrained(folder)

    def body(self, model_type: str, labels: int = 0, auto: str = "AutoModel", **changes: Any) -> Path:
        """Save a model with random weights and its tokenizer by transformers."""
        import torch
        import transformers

        name = f"{model_type}-{labels}-{auto}-{'-'.join(map(str, changes.items()))}"
        folder = self.home / "bodies" / name
        if folder in self._made:
            return folder
        self._made.add(folder)
        family = FAMILIES[model_type]
        tokenizer = self.tokenizer(family.tokenizer)
        config = (
            family.config | changes | {"vocab_size": _words(tokenizer) + 1} | ({"num_labels": labels} if labels else {})
        )
        torch.manual_seed(1)
        made = transformers.CONFIG_MAPPING[model_type](**config)
        kind = "AutoModelForSequenceClassification" if labels else auto
        model = getattr(transformers, kind).from_config(made)
        with torch.no_grad():  # biases and norms too, which are 0 and 1 otherwise
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * (0.1 if parameter.dim() == 1 else 0.0))
        model.save_pretrained(folder)
        for file in tokenizer.iterdir():
            shutil.copy(file, folder)
        return folder

    def embedder(self, folder: Path, model_type: str = "bert", pooling: str = "", steps=(), **options: Any) -> None:
        """Save an embedder by sentence-transformers."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer import modules

        changes = options.pop("changes", {})
        include_prompt = options.pop("include_prompt", True)
        transformer = modules.Transformer(str(self.body(model_type, **changes)))
        pooled = modules.Pooling(32, pooling or FAMILIES[model_type].pooling, include_prompt=include_prompt)
        SentenceTransformer(modules=[transformer, pooled, *steps], device="cpu", **options).save(
            str(folder), create_model_card=False
        )

    def reranker(self, folder: Path, model_type: str = "bert", labels: int = 1, **options: Any) -> None:
        """Save a CrossEncoder by sentence-transformers."""
        from sentence_transformers import CrossEncoder

        CrossEncoder(str(self.body(model_type, labels)), device="cpu", **options).save(
            str(folder), create_model_card=False
        )

    def sparse(self, folder: Path, model_type: str) -> None:
        """Save a SparseEncoder by sentence-transformers."""
        from sentence_transformers import SparseEncoder

        body = self.body(model_type, auto="AutoModelForMaskedLM")
        SparseEncoder(str(body), device="cpu").save(str(folder), create_model_card=False)


def _words(tokenizer: Path) -> int:
    from tokenizers import Tokenizer

    return int(Tokenizer.from_file(str(tokenizer / "tokenizer.json")).get_vocab_size())


def change(file: Path, without: tuple[str, ...] = (), **values: Any) -> None:
    """Set keys of a JSON file, and remove some."""
    content = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    write_json(file, {key: value for key, value in (content | values).items() if key not in without})


def link_away(folder: Path, *names: str) -> None:
    """Move files elsewhere, and leave links in their places."""
    away = folder.parent / f"{folder.name}-away"
    away.mkdir(exist_ok=True)
    for name in names:
        for file in folder.glob(name):
            target = away / f"{file.parent.name}-{file.name}"
            shutil.move(file, target)
            file.symlink_to(os.path.relpath(target, file.parent))


def as_bin(folder: Path) -> None:
    """Replace the weights by a file of torch.save."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def as_shards(folder: Path, *, as_bin: bool = False) -> None:
    """Split the weights into two shards with an index."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {1: names[::2], 2: names[1::2]}
    suffix, stem = (".bin", "pytorch_model") if as_bin else (".safetensors", "model")
    places = {}
    for number, part in parts.items():
        name = f"{stem}-0000{number}-of-00002{suffix}"
        content = {tensor: tensors[tensor] for tensor in part}
        if as_bin:
            torch.save(content, folder / name)
        else:
            save_file(content, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(part, name)
    write_json(folder / f"{stem}{suffix}.index.json", {"metadata": {}, "weight_map": places})
    (folder / "model.safetensors").unlink()


def expected(folder: Path, case: Case) -> np.ndarray:
    """Compute the libraries' output for each text alone, before sigmoid and softmax."""
    import torch

    with warnings.catch_warnings(), without_sentencepiece():
        warnings.simplefilter("ignore")
        if case.task == "embed":
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
            found = model.encode(TEXTS, prompt_name=case.prompt, batch_size=1)
        elif case.task == "sparse":
            from sentence_transformers import SparseEncoder

            found = SparseEncoder(str(folder), device="cpu", local_files_only=True).encode(
                TEXTS, convert_to_sparse_tensor=False
            )
            found = found.numpy()
        else:
            from sentence_transformers import CrossEncoder

            model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
            found = model.predict([(QUERY, text) for text in TEXTS], activation_fn=torch.nn.Identity())
    return np.array(found, dtype=np.float32)
