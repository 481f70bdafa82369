"""What a text is worth follows from the text alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fake_tei.oracle import name_of, options_of, ranking, text_of, tokens_of, vector_of

NAMES = st.text(alphabet="abc0123456789.", min_size=1, max_size=12)


@given(NAMES, st.integers(1, 8192), st.integers(0, 5000))
def test_a_text_holds_its_name_its_tokens_and_its_size(name, tokens, size):
    text = text_of(name, tokens, size)
    assert name_of(text) == name
    assert tokens_of(text, 8192) == tokens
    assert len(text) >= size


@pytest.mark.parametrize("text", ["", "ok", "n=|x|", "n=-3|x|", "n=12", "3|x|", "m=12|x|"])
def test_a_text_that_states_no_tokens_is_counted_by_its_length(text):
    assert tokens_of(text, 8192) == 2 + (len(text) + 3) // 4


def test_tokens_are_truncated_as_the_model_truncates():
    assert tokens_of(text_of("a", 9000), 8192) == 8192
    assert tokens_of("x" * 80_000, 8192) == 8192


def test_other_texts_other_lengths_and_other_options_have_other_vectors():
    vectors = [
        vector_of("n=5|a|"),
        vector_of("n=5|b|"),
        vector_of("n=5|a|x"),
        vector_of("n=5|a|", options_of(normalize=False, prompt_name=None)),
        vector_of("n=5|a|", options_of(normalize=True, prompt_name="query")),
    ]
    assert len({tuple(vector) for vector in vectors}) == len(vectors)
    assert all(len(vector) == 8 and all(-1 <= number < 1 for number in vector) for vector in vectors)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5])))
def test_the_best_score_comes_first_and_of_equal_ones_the_last(scores):
    order = ranking(scores)
    assert sorted(order) == list(range(len(scores)))
    for one, other in pairwise(order):
        assert (scores[one], one) > (scores[other], other)
