"""A tokenizer.json made of a slow tokenizer's files equals the one that transformers makes."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from embedfleet.errors import ModelError
from embedfleet.model_folder.sentencepiece import read_sentencepieces
from embedfleet.model_folder.slow_tokenizer import slow_tokenizer
from tests.services.slow_tokenizers import (
    PAIRS,
    TEXTS,
    WORDS,
    byte_pairs,
    of_transformers,
    sentence_pieces,
    spm_model,
    word_pieces,
)

CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
XLM = ["<unk>", "<s>", "</s>", "<special>"]
CAMEMBERT = ["<unk>", "<s>", "</s>"]
ALBERT = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
DEBERTA = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
MASK = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
DECODER = {
    str(number): {"content": token, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    | {"special": True}
    for number, token in enumerate(WORDS[:5])
}
CASES = {
    "bert": (word_pieces, "bert", {}),
    "bert, cased": (word_pieces, "bert", {CONFIG: {"do_lower_case": False}}),
    "bert, accents kept": (word_pieces, "bert", {CONFIG: {"do_lower_case": True, "strip_accents": False}}),
    "bert, accents stripped": (word_pieces, "bert", {CONFIG: {"do_lower_case": False, "strip_accents": True}}),
    "bert, chinese as words": (word_pieces, "bert", {CONFIG: {"tokenize_chinese_chars": False}}),
    "bert, tokens of its own": (
        word_pieces,
        "bert",
        {
            CONFIG: {
                "tokenizer_class": "BertTokenizer",
                "cls_token": "red",
                "unk_token": {"__type": "AddedToken", "content": "x"},
            }
        },
    ),
    "bert, added tokens": (
        word_pieces,
        "bert",
        {ADDED: {"extratoken": len(WORDS), "PlainAdded": len(WORDS) + 1}, MAP: {"mask_token": "[MASK]"}},
    ),
    "bert, special tokens that are added": (
        word_pieces,
        "bert",
        {ADDED: {"<special>": len(WORDS)}, MAP: {"additional_special_tokens": ["<special>"]}},
    ),
    "bert, numbered tokens": (
        word_pieces,
        "bert",
        {CONFIG: {"added_tokens_decoder": DECODER}, ADDED: {"extratoken": len(WORDS)}},
    ),
    "distilbert": (word_pieces, "distilbert", {CONFIG: {"do_lower_case": False}}),
    "electra": (word_pieces, "electra", {}),
    "electra, by its class": (word_pieces, "electra", {CONFIG: {"tokenizer_class": "ElectraTokenizer"}}),
    "mpnet": (word_pieces, "mpnet", {}),
    "mpnet, saved": (word_pieces, "mpnet", {CONFIG: {"tokenizer_class": "MPNetTokenizer"}, MAP: {"mask_token": MASK}}),
    "roberta": (byte_pairs, "roberta", {}),
    "roberta, space first": (byte_pairs, "roberta", {CONFIG: {"add_prefix_space": True}, MAP: {"mask_token": MASK}}),
    "roberta, added token": (byte_pairs, "roberta", {ADDED: {"extratoken": 400}}),
    "xlm-roberta": (sentence_pieces, "sentencepiece.bpe.model", "xlm-roberta", {}, XLM),
    "xlm-roberta, mask": (sentence_pieces, "sentencepiece.bpe.model", "xlm-roberta", {MAP: {"mask_token": MASK}}, XLM),
    "camembert": (sentence_pieces, "sentencepiece.bpe.model", "camembert", {}, CAMEMBERT),
    "albert": (sentence_pieces, "spiece.model", "albert", {}, ALBERT),
    "albert, cased": (
        sentence_pieces,
        "spiece.model",
        "albert",
        {CONFIG: {"do_lower_case": False, "keep_accents": True}},
        ALBERT,
    ),
    "deberta-v2": (sentence_pieces, "spm.model", "deberta-v2", {ADDED: {"[MASK]": 3000}}, DEBERTA),
    "deberta-v2, punctuation apart": (
        sentence_pieces,
        "spm.model",
        "deberta-v2",
        {CONFIG: {"do_lower_case": True, "split_by_punct": True}},
        DEBERTA,
    ),
}


def parts(tokenizer):
    """All parts of a tokenizer, with scores in float32 as in the file."""
    found = json.loads(tokenizer.to_str())
    if isinstance(found["model"]["vocab"], list):
        found["model"]["vocab"] = [(text, np.float32(score)) for text, score in found["model"]["vocab"]]
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_made_tokenizer_equals_that_of_transformers(name, tmp_path):
    make, *rest = CASES[name]
    folder = make(tmp_path / "m", *rest)
    theirs = of_transformers(folder).backend_tokenizer
    ours = Tokenizer.from_str(slow_tokenizer(folder, json.loads((folder / "config.json").read_text())["model_type"]))
    assert parts(ours) == parts(theirs)
    for text in TEXTS:
        expected, found = theirs.encode(text), ours.encode(text)
        assert found.tokens == expected.tokens
        assert (found.ids, found.type_ids) == (expected.ids, expected.type_ids)
        assert found.special_tokens_mask == expected.special_tokens_mask
        assert ours.decode(found.ids, skip_special_tokens=True) == theirs.decode(expected.ids, skip_special_tokens=True)
    for one, other in PAIRS:
        expected, found = theirs.encode(one, other), ours.encode(one, other)
        assert (found.ids, found.type_ids) == (expected.ids, expected.type_ids)


@pytest.mark.parametrize(
    ("model_type", "config", "named"),
    [
        ("qwen3", {}, "model_type 'qwen3'"),
        ("bert", {"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapaneseTokenizer"),
        ("bert", {"auto_map": {"AutoTokenizer": ["tokenization.Own", None]}}, "BertTokenizer"),
        ("xlm-roberta", {}, "sentencepiece.bpe.model"),
    ],
)
def test_an_unsupported_tokenizer_is_refused_with_the_way_to_make_it(model_type, config, named, tmp_path):
    folder = word_pieces(tmp_path / "m", model_type, {CONFIG: config})
    with pytest.raises(ModelError, match=named) as caught:
        slow_tokenizer(folder, model_type)
    assert "save_pretrained" in str(caught.value.hint)


def test_a_class_that_config_alone_names_is_not_taken_for_the_familys(tmp_path):
    folder = word_pieces(tmp_path / "m", "bert", {})
    (folder / "config.json").write_text('{"model_type": "bert", "tokenizer_class": "BertJapaneseTokenizer"}')
    with pytest.raises(ModelError, match="BertJapaneseTokenizer"):
        slow_tokenizer(folder, "bert")


def test_a_bpe_model_is_refused(tmp_path):
    folder = sentence_pieces(tmp_path / "m", "spm.model", "deberta-v2", {}, DEBERTA)
    content = (folder / "spm.model").read_bytes()
    (folder / "spm.model").write_bytes(content + bytes([0x12, 2, 0x18, 2]))  # model_type = BPE
    with pytest.raises(ModelError, match="not a unigram model"):
        slow_tokenizer(folder, "deberta-v2")


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x0b", b"\x0a\x7f", b"\x08\x01\x0a", b"\x0a\x02\x08\x01"])
def test_other_content_is_refused_as_not_a_sentencepiece_file(content):
    with pytest.raises(ValueError, match="it "):
        read_sentencepieces(content)


def test_half_a_sentencepiece_file_is_refused():
    content = spm_model(XLM)
    for part in (0.1, 0.5, 0.999):
        with pytest.raises(ValueError, match="it ends"):
            read_sentencepieces(content[: int(len(content) * part)])
