"""Small tokenizers of each kind, as the text of their ``tokenizer.json``."""

import string

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

ROOM = 320
"""Size of the vocabulary: no tokenizer here has more tokens."""

_LETTERS = string.ascii_lowercase
_WORDS = ("the", "a", "of", "river", "stone", "warm", "up", "query", "text")


def word_piece() -> bytes:
    """A WordPiece tokenizer, as BERT has."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = list(dict.fromkeys([*special, *_LETTERS, *_WORDS, *(f"##{one}" for one in _LETTERS), *string.digits]))
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _finished(tokenizer, special, ("[CLS]", "[SEP]"))


def unigram() -> bytes:
    """A Unigram tokenizer, as XLM-RoBERTa has."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words = ["▁", *_LETTERS, *(f"▁{word}" for word in _WORDS)]
    pieces = [(word, 0.0) for word in special] + [(word, -float(place)) for place, word in enumerate(words, 1)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _finished(tokenizer, special, ("<s>", "</s>"))


def byte_pairs() -> bytes:
    """A byte-level BPE tokenizer, as ModernBERT and Qwen3 have."""
    special = ["<|pad|>", "<|begin|>", "<|end|>"]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the", "st", "er", "Ġth", "Ġthe"]
    merges = [("t", "h"), ("th", "e"), ("s", "t"), ("e", "r"), ("Ġ", "th"), ("Ġth", "e")]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _finished(tokenizer, special, ("<|begin|>", "<|end|>"))


def _finished(tokenizer: Tokenizer, special: list[str], ends: tuple[str, str]) -> bytes:
    """The tokenizer with special tokens around a text and between two texts."""
    first, last = ends
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(word, special.index(word)) for word in ends],
    )
    return str(tokenizer.to_str()).encode()
