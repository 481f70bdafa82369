"""Special tokens stand where the tokenizers library puts them, whatever its post-processor."""

import json
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from bench.fuzz.tokenizers import byte_pairs, unigram, word_piece
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.text.special_tokens import Tokens, read_template
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import ModelError

BEFORE = word_piece().replace(b'"single":[', b'"single":[{"SpecialToken":{"id":"[SEP]","type_id":1}},')
WITHOUT = json.dumps(json.loads(word_piece()) | {"post_processor": None}).encode()
ENDS = ("[SEP]", 3), ("[CLS]", 2)
POST_PROCESSORS = {
    "bert": (word_piece(), processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))),
    "roberta": (byte_pairs(), processors.RobertaProcessing(("<|end|>", 2), ("<|begin|>", 1))),
    "byte level": (byte_pairs(), processors.ByteLevel()),
    "none": (byte_pairs(), None),
    "none, of words": (WITHOUT, None),
    "sequence": (word_piece(), processors.Sequence([processors.ByteLevel(), processors.BertProcessing(*ENDS)])),
    "template": (unigram(), None),
    "template of two types": (BEFORE, None),
}
WORDS = st.lists(st.sampled_from(["river", "é", "日", "[SEP]", "</s>", "the  stone"]), max_size=30).map(" ".join)


@pytest.fixture(scope="module", params=POST_PROCESSORS)
def both(request, tmp_path_factory):
    """The library's tokenizer and ours, from the same file."""
    content, processor = POST_PROCESSORS[request.param]
    tokenizer = Tokenizer.from_str(content.decode())
    if processor is not None:
        tokenizer.post_processor = processor
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(file))
    return tokenizer, Tokenization(file)


@given(one=WORDS, other=st.one_of(st.none(), WORDS), limit=st.integers(5, 40), left=st.booleans())
def test_inputs_are_those_of_the_library(both, one, other, limit, left):
    library, ours = both
    direction = "left" if left else "right"
    library.enable_truncation(limit, strategy="longest_first", direction=direction)
    expected = library.encode(one, other)
    if not expected.ids or not (one or other):
        return
    item = one if other is None else (one, other)
    if not item:
        return
    (found,) = ours.encode([item], TextLimits(limit, truncate=True, direction=direction), None)
    assert found.ids.tolist() == expected.ids
    assert found.types.tolist() == expected.type_ids
    assert found.special.tolist() == list(map(bool, expected.special_tokens_mask))


def test_two_long_texts_take_no_more_memory_than_one():
    tokenization = Tokenization(builtin_model() / "tokenizer.json")
    limits = TextLimits(512, truncate=True, direction="right")
    tokenization.encode([("word " * 25_000, "a")], limits, None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (encoded,) = tokenization.encode([("word " * 25_000, "word " * 25_000)], limits, None)
    assert len(encoded.ids) == 512
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    ("ids", "special", "types"),
    [
        ([1, 5, 2, 5, 2], [1, 0, 1, 0, 1], [0] * 5),  # the text occurs twice
        ([1, 2], [1, 1], [0] * 2),  # the text is left out
        ([1, 6, 2], [1, 0, 1], [0] * 3),  # another text
        ([1, 5, 5, 2], [1, 0, 0, 1], [0] * 4),
    ],
)
def test_what_is_no_template_is_refused(ids, special, types):
    with pytest.raises(ValueError, match="text"):
        read_template(Tokens(ids, types, special), [[5]])


def test_a_tokenizer_that_repeats_a_text_is_refused_by_its_file(tmp_path):
    file = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer.from_str(word_piece().decode())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A $A", pair="$A $B", special_tokens=[("[CLS]", 2)]
    )
    tokenizer.save(str(file))
    with pytest.raises(ModelError, match=r"tokenizer\.json is not a tokenizer: a text occurs twice"):
        Tokenization(file)
