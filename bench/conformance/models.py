"""``python -m bench.conformance.models OUT``: write the four seeded models of the recordings.

They are BERTs of two narrow layers with random weights and a vocabulary of 142 words, in Hugging Face's layout: an
embedder (mean pooling, 32 tokens, two prompts), a reranker, a classifier of three classes, and SPLADE. The numbers are
always the same, so the recorded vectors and scores hold for them.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

Floats = np.ndarray[Any, np.dtype[np.float32]]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = ("red", "green", "Green", "river", "River", "stone", "bird", "sings", "over", "under", ".", ",", "?")
_LETTERS = tuple(ascii_lowercase + ascii_uppercase + digits)
VOCABULARY = (*_SPECIAL, *_WORDS, *_LETTERS, *("##" + letter for letter in _LETTERS))
_POOLINGS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
_WIDTH, _LAYERS, _HEADS, _INNER, _POSITIONS = 32, 2, 4, 64, 64
_SPREAD = 0.4
_SEED, _SEED_OF_WORDS = 20261129, 7


def write_embedder(folder: Path) -> None:
    """Write an embedder with mean pooling, 32 tokens and the prompts ``query`` and ``passage``."""
    _write_base(folder, "BertModel", _tensors())
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    _write_json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
    )
    pooling = {f"pooling_mode_{name}": name == "mean_tokens" for name in _POOLINGS}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": _WIDTH, **pooling})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    prompts = {"query": "green river: ", "passage": "stone: "}
    _write_json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})


def write_reranker(folder: Path) -> None:
    """Write a reranker: a classifier with one label."""
    _write_classifier(folder, ["LABEL_0"])


def write_classifier(folder: Path) -> None:
    """Write a classifier with three labels."""
    _write_classifier(folder, ["red", "green", "blue"])


def write_splade(folder: Path) -> None:
    """Write a masked language model whose decoder is not tied to the embeddings."""
    tensors = _tensors("bert.")
    random = np.random.default_rng(_SEED_OF_WORDS)
    head = "cls.predictions."
    for name, shape in (
        ("transform.dense.weight", (_WIDTH, _WIDTH)),
        ("transform.dense.bias", (_WIDTH,)),
        ("transform.LayerNorm.bias", (_WIDTH,)),
        ("decoder.weight", (len(VOCABULARY), _WIDTH)),
        ("bias", (len(VOCABULARY),)),
    ):
        tensors[head + name] = random.normal(0, _SPREAD, shape).astype(np.float32)
    tensors[head + "transform.LayerNorm.weight"] = np.ones(_WIDTH, np.float32)
    tensors[head + "decoder.bias"] = tensors[head + "bias"]
    _write_base(folder, "BertForMaskedLM", tensors)


WRITERS: dict[str, Callable[[Path], None]] = {
    "embedder": write_embedder,
    "reranker": write_reranker,
    "classifier": write_classifier,
    "splade": write_splade,
}


def write_models(folder: Path) -> None:
    """Write all four models, each in a folder of its name."""
    for name, write in WRITERS.items():
        write(folder / name)


def _write_classifier(folder: Path, labels: list[str]) -> None:
    names = {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    _write_base(folder, "BertForSequenceClassification", _tensors("bert.", len(labels)), names)


def _write_base(
    folder: Path, architecture: str, tensors: Mapping[str, Floats], more: dict[str, Any] | None = None
) -> None:
    """Write weights, config and tokenizer, as every model has them."""
    folder.mkdir(parents=True)
    _write_safetensors(folder / "model.safetensors", tensors)
    _write_json(folder / "config.json", _config(architecture) | (more or {}))
    _write_tokenizer(folder)


def _config(architecture: str) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": _WIDTH,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "intermediate_size": _INNER,
        "max_position_embeddings": _POSITIONS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "vocab_size": len(VOCABULARY),
        # Keys that TEI needs and transformers always writes.
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "classifier_dropout": None,
    }


def _tensors(prefix: str = "", labels: int = 0) -> dict[str, Floats]:
    """BERT's weights, in the order in which the random numbers were drawn; the order must not change."""
    random = np.random.default_rng(_SEED)
    tensors: dict[str, Floats] = {}

    def draw(name: str, *shape: int, about: float = 0.0) -> None:
        tensors[name] = random.normal(0, _SPREAD, shape).astype(np.float32) + np.float32(about)

    def norm(name: str) -> None:
        draw(f"{name}.weight", _WIDTH, about=1.0)
        draw(f"{name}.bias", _WIDTH)

    def dense(name: str, out: int, into: int) -> None:
        draw(f"{name}.weight", out, into)
        draw(f"{name}.bias", out)

    for name, count in (("word", len(VOCABULARY)), ("position", _POSITIONS), ("token_type", 2)):
        draw(f"{prefix}embeddings.{name}_embeddings.weight", count, _WIDTH)
    norm(f"{prefix}embeddings.LayerNorm")
    for number in range(_LAYERS):
        layer = f"{prefix}encoder.layer.{number}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{layer}attention.{name}", _WIDTH, _WIDTH)
        norm(f"{layer}attention.output.LayerNorm")
        dense(f"{layer}intermediate.dense", _INNER, _WIDTH)
        dense(f"{layer}output.dense", _WIDTH, _INNER)
        norm(f"{layer}output.LayerNorm")
    dense(f"{prefix}pooler.dense", _WIDTH, _WIDTH)
    if labels:
        dense("classifier", labels, _WIDTH)
    return tensors


def _write_tokenizer(folder: Path) -> None:
    made = Tokenizer(models.WordPiece({word: id_ for id_, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(list(_SPECIAL))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(word, VOCABULARY.index(word)) for word in ("[CLS]", "[SEP]")],
    )
    made.save(str(folder / "tokenizer.json"))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "unk", "pad", "mask")}
    known = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": False}
    _write_json(folder / "tokenizer_config.json", {**known, "model_max_length": _POSITIONS, **names})


def _write_safetensors(file: Path, tensors: Mapping[str, Floats]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, values in tensors.items():
        start, end = end, end + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [start, end]}
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    file.write_bytes(b"".join([len(told).to_bytes(8, "little"), told, *(one.tobytes() for one in tensors.values())]))


def _write_json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1))


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
