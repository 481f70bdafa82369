"""Our truncation, which comes before special tokens are added, gives the same as that of the tokenizers library."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits, truncated_lengths

texts = st.lists(
    st.sampled_from(["a", "deep", "learning", "tokenization", "é", "日本", "2026"]), min_size=1, max_size=40
)
text = texts.map(" ".join)


@cache
def oracle() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(builtin_model() / "tokenizer.json"))
    tokenizer.no_padding()
    return tokenizer


@cache
def ours() -> Tokenization:
    return Tokenization(builtin_model() / "tokenizer.json")


@given(text, st.none() | text, st.integers(4, 60), st.sampled_from(["left", "right"]))
@settings(deadline=None)
def test_ids_and_types_equal_the_librarys(first, second, limit, direction):
    oracle().enable_truncation(limit, strategy="longest_first", direction=direction)
    expected = oracle().encode(first, second) if second is not None else oracle().encode(first)
    item = first if second is None else (first, second)
    (got,) = ours().encode([item], TextLimits(limit, True, direction), None)
    assert got.ids.tolist() == expected.ids
    assert got.types.tolist() == expected.type_ids
    assert got.special.tolist() == [bool(special) for special in expected.special_tokens_mask]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=2), st.integers(1, 150))
def test_truncated_lengths_fit_and_waste_nothing(lengths, limit):
    kept = truncated_lengths(lengths, limit)
    assert sum(kept) == min(sum(lengths), limit)
    assert all(0 <= k <= length for k, length in zip(kept, lengths, strict=True))


@pytest.mark.parametrize("limit", [8, 9])
def test_a_pair_longer_than_the_limit_is_shared_between_both(limit):
    assert sum(truncated_lengths([50, 60], limit)) == limit
    assert abs(truncated_lengths([50, 60], limit)[0] - truncated_lengths([50, 60], limit)[1]) <= 1
