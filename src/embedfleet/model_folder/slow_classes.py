"""Tokenizers that transformers' slow classes build from other files than ``tokenizer.json``.

The rules are those of transformers 5.23, models/*/tokenization_*.py.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.sentencepiece import CONTROL, USER_DEFINED, SentencePieces, read_sentencepieces
from embedfleet.model_folder.special_tokens import Token

Json = dict[str, Any]
_SPACE = "▁"  # SentencePiece's mark at the start of a word


@dataclass(frozen=True, slots=True)
class Files:
    """Files of a folder with a slow tokenizer.

    Attributes:
        folder: Folder of the files.
        settings: The folder's tokenizer_config.json; None if there is none.
        values: Keys and values of the settings; empty if there are none.
    """

    folder: Path
    settings: ModelConfig | None
    values: Mapping[str, Any]

    def flag(self, key: str, *, default: bool) -> bool:
        """Read a setting that is true or false."""
        return default if self.settings is None else self.settings.flag(key, default=default)


@dataclass(frozen=True, slots=True)
class TokenizerParts:
    """Parts of a ``tokenizer.json`` that a class builds from its files.

    Attributes:
        model: The ``model`` part.
        normalizer: The ``normalizer`` part; None for none.
        pre_tokenizer: The ``pre_tokenizer`` part; None for none.
        decoder: The ``decoder`` part; None for none.
        extra: Special and user-defined tokens that the SentencePiece file names, in order.
    """

    model: Json
    normalizer: Json | None
    pre_tokenizer: Json | None
    decoder: Json | None
    extra: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """A slow tokenizer class.

    Attributes:
        files: Files that it reads; the first one marks a folder of this class.
        tokens: Default special tokens by role.
        build: Function that builds the parts of the tokenizer.
        template: Placement of special tokens around texts.
    """

    files: tuple[str, ...]
    tokens: Mapping[str, str | Token]
    build: Callable[[Files, Mapping[str, Token]], TokenizerParts]
    template: "SpecialTokenTemplate"


@dataclass(frozen=True, slots=True)
class SpecialTokenTemplate:
    """Placement of special tokens around a text or a pair, by role.

    Attributes:
        begin: Role of the token before the first text.
        end: Role of the token after each text.
        separators: Number of ``end`` tokens between two texts.
        second_type: Token type of the second text.
        is_roberta: Whether RoBERTa's post-processor is used.
    """

    begin: str = "cls_token"
    end: str = "sep_token"
    separators: int = 1
    second_type: int = 1
    is_roberta: bool = False


def _word_piece(files: Files, named: Mapping[str, Token]) -> TokenizerParts:
    """BERT's WordPiece, which splits each word into the longest parts that the vocabulary has (Wu et al. 2016)."""
    lines = (files.folder / "vocab.txt").read_text("utf-8").removesuffix("\n").split("\n")
    return TokenizerParts(
        model={
            "type": "WordPiece",
            "unk_token": named["unk_token"].content,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {line.rstrip(): number for number, line in enumerate(lines)},
        },
        normalizer=bert_normalizer(files.values),
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )


def bert_normalizer(settings: Mapping[str, Any]) -> Json:
    """Make BERT's normalizer, with the settings of tokenizer_config.json."""
    strip = settings.get("strip_accents")
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": bool(settings.get("tokenize_chinese_chars", True)),
        "strip_accents": None if strip is None else bool(strip),
        "lowercase": bool(settings.get("do_lower_case", True)),
    }


def _byte_pairs(files: Files, named: Mapping[str, Token]) -> TokenizerParts:  # noqa: ARG001 - signature of `TokenizerClass.build`
    """RoBERTa's byte-level BPE, which merges pairs in the order of a list (Sennrich et al. 2016)."""
    merges = [
        line.split(" ")
        for line in (files.folder / "merges.txt").read_text("utf-8").split("\n")
        if line and not line.startswith("#version")
    ]
    if any(len(pair) != 2 for pair in merges):
        raise ValueError("merges.txt has a line that is not a pair")
    return TokenizerParts(
        model={
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": ModelConfig(files.folder / "vocab.json").values,
            "merges": merges,
        },
        normalizer=None,
        pre_tokenizer={
            "type": "ByteLevel",
            "add_prefix_space": files.flag("add_prefix_space", default=False),
            "trim_offsets": True,
            "use_regex": True,
        },
        decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    )


def _pieces(files: Files, name: str) -> SentencePieces:
    pieces = read_sentencepieces((files.folder / name).read_bytes())
    if not pieces.is_unigram:
        raise ValueError(f"{name} is not a unigram model; other models are not supported")
    return pieces


def _unigram(
    files: Files,
    pieces: SentencePieces,
    vocabulary: Sequence[tuple[str, float]],
    unknown: int,
    normalizers: list[Json],
) -> TokenizerParts:
    metaspace = _metaspace(files)
    return TokenizerParts(
        model={
            "type": "Unigram",
            "unk_id": unknown,
            "vocab": [list(entry) for entry in vocabulary],
            "byte_fallback": False,
        },
        normalizer=_sequence_of("normalizers", normalizers),
        pre_tokenizer=_sequence_of("pretokenizers", [{"type": "WhitespaceSplit"}, metaspace]),
        decoder=metaspace,
        extra=tuple(
            Token(piece.text, normalized=False, special=piece.kind == CONTROL)
            for piece in pieces.pieces
            if piece.kind in {CONTROL, USER_DEFINED}
        ),
    )


def _metaspace(files: Files, without: str = "never") -> Json:
    scheme = "always" if files.flag("add_prefix_space", default=True) else without
    return {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": True}


def _sequence_of(name: str, parts: list[Json]) -> Json:
    return {"type": "Sequence", name: parts}


def _charsmap(pieces: SentencePieces) -> list[Json]:
    if not pieces.charsmap:
        return []
    return [{"type": "Precompiled", "precompiled_charsmap": b64encode(pieces.charsmap).decode()}]


def _xlm_roberta(files: Files, named: Mapping[str, Token]) -> TokenizerParts:
    """XLM-RoBERTa's unigram model; fairseq put its own four tokens before all pieces, and the mask token after them."""
    pieces = _pieces(files, "sentencepiece.bpe.model")
    first = [(named[name].content, 0.0) for name in ("bos_token", "pad_token", "eos_token", "unk_token")]
    vocabulary = [*first, *_scored(pieces, 3), (named["mask_token"].content, 0.0)]
    return _single_normalizer(_unigram(files, pieces, vocabulary, 3, _charsmap(pieces)))


def _camembert(files: Files, named: Mapping[str, Token]) -> TokenizerParts:
    """CamemBERT's unigram model, which is like XLM-RoBERTa's, with entries that fairseq never used."""
    pieces = _pieces(files, "sentencepiece.bpe.model")
    pad, unknown = named["pad_token"].content, named["unk_token"].content
    first = [("<s>NOTUSED", 0.0), (pad, 0.0), ("</s>NOTUSED", 0.0), (unknown, 0.0), ("<unk>NOTUSED", -100.0)]
    vocabulary = [*first, *_scored(pieces, 1), (named["mask_token"].content, 0.0)]
    return _single_normalizer(_unigram(files, pieces, vocabulary, _index(vocabulary, unknown, 0), _charsmap(pieces)))


def _albert(files: Files, named: Mapping[str, Token]) -> TokenizerParts:  # noqa: ARG001 - signature of `TokenizerClass.build`
    pieces = _pieces(files, "spiece.model")
    normalizers: list[Json] = [
        {"type": "Replace", "pattern": {"String": quotes}, "content": '"'} for quotes in ("``", "''")
    ]
    if not files.flag("keep_accents", default=False):
        normalizers += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if files.flag("do_lower_case", default=True):
        normalizers.append({"type": "Lowercase"})
    return _unigram(files, pieces, _scored(pieces, 0), 1, normalizers + _charsmap(pieces))


def _deberta_v2(files: Files, named: Mapping[str, Token]) -> TokenizerParts:
    pieces = _pieces(files, "spm.model")
    vocabulary = _scored(pieces, 0)
    normalizers: list[Json] = [{"type": "Lowercase"}] if files.flag("do_lower_case", default=False) else []
    normalizers += [
        {"type": "Replace", "pattern": {"Regex": r"\s{2,}|[\n\r\t]"}, "content": " "},
        {"type": "NFC"},
        {"type": "Strip", "strip_left": False, "strip_right": True},
    ]
    before: list[Json] = []
    if files.flag("split_by_punct", default=False):
        before.append({"type": "Punctuation", "behavior": "Isolated"})
    metaspace = _metaspace(files, without="first")
    unknown = _index(vocabulary, named["unk_token"].content, pieces.unknown)
    parts = _unigram(files, pieces, vocabulary, unknown, normalizers)
    return replace(parts, pre_tokenizer=_sequence_of("pretokenizers", [*before, metaspace]), decoder=metaspace)


def _single_normalizer(parts: TokenizerParts) -> TokenizerParts:
    """Replace a normalizer sequence of at most one element by the element."""
    assert parts.normalizer is not None
    inner = parts.normalizer["normalizers"]
    return replace(parts, normalizer=inner[0] if inner else None)


def _scored(pieces: SentencePieces, start: int) -> list[tuple[str, float]]:
    return [(piece.text, piece.score) for piece in pieces.pieces[start:]]


def _index(vocabulary: Sequence[tuple[str, float]], token: str, otherwise: int) -> int:
    return vocabulary.index((token, 0.0)) if (token, 0.0) in vocabulary else otherwise


_BERT_TOKENS: dict[str, str | Token] = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS: dict[str, str | Token] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_SPM_BERT_TOKENS: dict[str, str | Token] = {"bos_token": "[CLS]", "eos_token": "[SEP]", **_BERT_TOKENS}
_BOS_EOS = SpecialTokenTemplate("bos_token", "eos_token", separators=2, second_type=0)
_BERT = TokenizerClass(("vocab.txt",), _BERT_TOKENS, _word_piece, SpecialTokenTemplate())
CLASSES = {
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "MPNetTokenizer": TokenizerClass(
        ("vocab.txt",),
        _ROBERTA_TOKENS | {"unk_token": "[UNK]", "mask_token": Token("<mask>", lstrip=True)},
        _word_piece,
        SpecialTokenTemplate(is_roberta=True),
    ),
    "RobertaTokenizer": TokenizerClass(
        ("vocab.json", "merges.txt"), _ROBERTA_TOKENS, _byte_pairs, SpecialTokenTemplate(is_roberta=True)
    ),
    "XLMRobertaTokenizer": TokenizerClass(("sentencepiece.bpe.model",), _ROBERTA_TOKENS, _xlm_roberta, _BOS_EOS),
    "CamembertTokenizer": TokenizerClass(
        ("sentencepiece.bpe.model",),
        _ROBERTA_TOKENS | {"mask_token": Token("<mask>", lstrip=True)},
        _camembert,
        _BOS_EOS,
    ),
    "AlbertTokenizer": TokenizerClass(
        ("spiece.model",),
        _SPM_BERT_TOKENS | {"unk_token": "<unk>", "pad_token": "<pad>"},
        _albert,
        SpecialTokenTemplate(),
    ),
    "DebertaV2Tokenizer": TokenizerClass(("spm.model",), _SPM_BERT_TOKENS, _deberta_v2, SpecialTokenTemplate()),
}
"""Name of a class in tokenizer_config.json, without ``Fast`` → class."""
CLASS_OF_TYPE = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "nomic_bert": "BertTokenizer",
    "mpnet": "MPNetTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "albert": "AlbertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
"""``model_type`` in config.json → class, if no file names one."""
