"""Model folders with seeded random weights in XLM-RoBERTa's layout, written tensor by tensor.

``python -m bench.engine.folders FOLDER`` writes one of bge-m3's shape and prints the size of its weights in bytes.
"""

import json
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.engine.work import BGE_M3, Shape
from embedfleet.engine.model.builtin import builtin_model

_BGE_M3_VOCABULARY = 250_002
_POSITIONS = 8194  # bge-m3's: 8192 and the two before the first position


def write_model(folder: Path, shape: Shape, *, vocabulary: int, seed: int = 7) -> int:
    """Write an embedder with CLS pooling and the built-in model's tokenizer.

    Args:
        folder: Folder, made here.
        shape: Shape of the model.
        vocabulary: Rows of the word table, at least as many as the tokenizer has tokens.
        seed: Seed of the weights.

    Returns:
        Size of the weights, in bytes.
    """
    (folder / "1_Pooling").mkdir(parents=True)
    shutil.copy(builtin_model() / "tokenizer.json", folder)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "config.json").write_text(json.dumps(_config(shape, vocabulary)))
    return _write_weights(folder / "model.safetensors", list(_tensors(shape, vocabulary)), seed)


def _config(shape: Shape, vocabulary: int) -> dict[str, object]:
    return {
        "architectures": ["XLMRobertaModel"],
        "model_type": "xlm-roberta",
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.hidden // 64,
        "max_position_embeddings": _POSITIONS,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
    }


def _tensors(shape: Shape, vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, wide = shape.hidden, shape.intermediate
    yield "embeddings.word_embeddings.weight", (vocabulary, hidden)
    yield "embeddings.position_embeddings.weight", (_POSITIONS, hidden)
    yield "embeddings.token_type_embeddings.weight", (1, hidden)
    yield from _norm("embeddings.LayerNorm", hidden)
    for number in range(shape.layers):
        layer = f"encoder.layer.{number}."
        for part in ("query", "key", "value"):
            yield from _dense(f"{layer}attention.self.{part}", hidden, hidden)
        yield from _dense(f"{layer}attention.output.dense", hidden, hidden)
        yield from _norm(f"{layer}attention.output.LayerNorm", hidden)
        yield from _dense(f"{layer}intermediate.dense", wide, hidden)
        yield from _dense(f"{layer}output.dense", hidden, wide)
        yield from _norm(f"{layer}output.LayerNorm", hidden)


def _dense(name: str, out: int, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, width)
    yield f"{name}.bias", (out,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _write_weights(file: Path, tensors: list[tuple[str, tuple[int, ...]]], seed: int) -> int:
    """Write a float32 safetensors file: scales of norms are 1, all else is normal with standard deviation 0.02."""
    header, place = {}, 0
    for name, dimensions in tensors:
        size = 4 * int(np.prod(dimensions))
        header[name] = {"dtype": "F32", "shape": list(dimensions), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    chance = np.random.default_rng(seed)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name, dimensions in tensors:
            is_scale = name.endswith("LayerNorm.weight")
            values = np.ones(dimensions, np.float32) if is_scale else _normal(chance, dimensions)
            stream.write(values.tobytes())
    return place


def _normal(chance: np.random.Generator, dimensions: tuple[int, ...]) -> np.ndarray:
    values = chance.standard_normal(dimensions, np.float32)
    values *= np.float32(0.02)
    return values


if __name__ == "__main__":
    print(write_model(Path(sys.argv[1]), BGE_M3, vocabulary=_BGE_M3_VOCABULARY))
