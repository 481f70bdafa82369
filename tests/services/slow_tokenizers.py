"""Folders of slow tokenizers, and the tokenizers that transformers makes of them."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.services.models import xlm_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!'\"-()é東京"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS += ["red", "Red", "green", "river", "stone", "cafe", "café", "straße", *LETTERS, *("##" + one for one in LETTERS)]
TEXTS = [
    "A red bird sings over the river.",
    "Café  au lait, straße; CAFÉ naïve Ångström",
    "東京 and \uff46\uff55ll width ① ½ \ufb01",
    " leading and trailing \t blanks\n and a new line ",
    "it's `` quoted '' text -- (twice)",
    "[MASK] <mask> [SEP] </s> <s> in the text",
    "extraterrestrial extratoken <special> plainadded",
    "a b\u200bc\u00a0d e\u0301 \u0000 \ufffd 👩‍🚀",
    "1,234.56 9,9, 2021-10-11",
    "x",
]
PAIRS = [("a red bird", "over the river"), ("Café", "東京 <mask>")]


def write_json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, ensure_ascii=False), "utf-8")


def word_pieces(folder: Path, model_type: str, files: dict[str, Any], words=WORDS) -> Path:
    """Make a folder with a vocab.txt."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    return _rest(folder, model_type, files)


def byte_pairs(folder: Path, model_type: str, files: dict[str, Any]) -> Path:
    """Make a folder with vocab.json and merges.txt, trained on our texts."""
    from tokenizers import ByteLevelBPETokenizer

    made = ByteLevelBPETokenizer()
    made.train_from_iterator(TEXTS * 3, 400, 1, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    folder.mkdir(parents=True)
    made.save_model(str(folder))
    return _rest(folder, model_type, files)


def sentence_pieces(
    folder: Path, name: str, model_type: str, files: dict[str, Any], first: list[str], most=3000
) -> Path:
    """Make a folder with a SentencePiece model: the class's tokens, then XLM-RoBERTa's first pieces and charsmap."""
    folder.mkdir(parents=True)
    (folder / name).write_bytes(spm_model(first, most))
    return _rest(folder, model_type, files)


@cache
def _xlm_pieces() -> tuple[list[tuple[str, float]], str]:
    """The first pieces of XLM-RoBERTa, and its charsmap in base64."""
    tokenizer = json.loads(xlm_tokenizer().read_text("utf-8"))
    parts = tokenizer["normalizer"].get("normalizers", [tokenizer["normalizer"]])
    charsmap = next(part["precompiled_charsmap"] for part in parts if part["type"] == "Precompiled")
    return tokenizer["model"]["vocab"][:3000], charsmap


def spm_model(first: list[str], most: int = 3000) -> bytes:
    """Serialise a unigram model as the sentencepiece library would."""
    from transformers.utils import sentencepiece_model_pb2_new as protobuf

    pieces, charsmap = _xlm_pieces()
    model = protobuf.ModelProto()
    for text in first:
        kind = {"<unk>": 2, "[UNK]": 2, "<special>": 4}.get(text, 3)
        model.pieces.add(piece=text, score=0.0, type=kind)
    for text, score in pieces[4:most]:
        model.pieces.add(piece=text, score=score, type=1)
    model.trainer_spec.model_type = 1
    model.trainer_spec.unk_id = next(number for number, text in enumerate(first) if text in {"<unk>", "[UNK]"})
    model.trainer_spec.pad_id = -1
    model.normalizer_spec.name = "nmt_nfkc"
    model.normalizer_spec.precompiled_charsmap = base64.b64decode(charsmap)
    return bytes(model.SerializeToString())


def _rest(folder: Path, model_type: str, files: dict[str, Any]) -> Path:
    write_json(folder / "config.json", {"model_type": model_type})
    for name, value in files.items():
        write_json(folder / name, value)
    return folder


def of_transformers(folder: Path):
    """Make the tokenizer of transformers."""
    from transformers import AutoTokenizer

    with without_sentencepiece():
        return AutoTokenizer.from_pretrained(folder)


@contextmanager
def without_sentencepiece() -> Iterator[None]:
    """Disable transformers' check for the sentencepiece library, which reading such files does not need."""
    from transformers.convert_slow_tokenizer import SentencePieceExtractor

    before = SentencePieceExtractor.__init__
    SentencePieceExtractor.__init__ = _read_protobuf
    try:
        yield
    finally:
        SentencePieceExtractor.__init__ = before


def _read_protobuf(self, model: str) -> None:
    from transformers.utils import sentencepiece_model_pb2_new as protobuf

    self.proto = protobuf.ModelProto()
    self.proto.ParseFromString(Path(model).read_bytes())
