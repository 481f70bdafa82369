"""Tokenization: limits, prompts, ids, pairs and offsets."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import Empty, Validation

TOKENIZATION = Tokenization(builtin_model() / "tokenizer.json")
CUT = TextLimits(16, truncate=True, direction="right")
CUT_LEFT = TextLimits(16, truncate=True, direction="left")
WHOLE = TextLimits(16, truncate=False, direction="right")
MOST = 16 * 250
CLS, SEP = 101, 102


def ids(item, limits=CUT, prompt=None):
    (encoded,) = TOKENIZATION.encode([item], limits, prompt)
    return encoded.ids.tolist()


@pytest.mark.parametrize("item", ["", [], ("", "")])
@pytest.mark.parametrize("prompt", [None, "query: "])
def test_an_input_with_nothing_in_it_is_empty_even_with_a_prompt(item, prompt):
    with pytest.raises(Empty, match="Input validation error: `inputs` cannot be empty"):
        ids(item, prompt=prompt)


def test_a_pair_may_have_one_empty_text():
    assert ids(("", "deep")) == [CLS, SEP, *ids("deep")[1:]]


def test_too_many_tokens_are_counted_with_the_special_ones():
    assert len(ids("a " * 14, WHOLE)) == 16
    with pytest.raises(
        Validation, match=r"^Input validation error: `inputs` must have less than 16 tokens. Given: 17$"
    ):
        ids("a " * 15, WHOLE)


@pytest.mark.parametrize(("item", "given"), [("x" * (MOST + 1), MOST + 1), (("x" * MOST, "yz"), MOST + 2)])
def test_too_many_characters_are_refused_before_tokenizing(item, given):
    with pytest.raises(Validation, match=f"must have less than {MOST} characters. Given: {given}$"):
        ids(item, WHOLE)


def test_too_many_ids_are_refused_by_their_number():
    with pytest.raises(Validation, match=f"must have less than {MOST} characters. Given: {MOST + 1}$"):
        ids([CLS] * (MOST + 1), WHOLE)


def test_the_prompt_does_not_count_as_characters():
    text = "x" * MOST
    assert ids(text, WHOLE, "query: ") == ids("query: " + text, TextLimits(32, truncate=False, direction="right"))


@pytest.mark.parametrize(("limits", "kept"), [(CUT, "first"), (CUT_LEFT, "last")])
def test_characters_over_the_limit_are_cut_on_the_side_that_tokens_are(limits, kept):
    text = "first " * 16 + "middle " * MOST + "last " * 16
    assert set(ids(text, limits)[1:-1]) == {ids(kept)[1]}


@pytest.mark.parametrize("item", [" " * MOST + "deep", (" " * MOST + "deep", "learning"), ("deep", " " * MOST + "a")])
def test_characters_over_the_limit_are_not_read(item):
    assert len(ids(item)) < len(ids(item, TextLimits(32, truncate=True, direction="right")))


def test_of_a_pair_over_the_limit_both_texts_are_read():
    got = ids(("left " * MOST, "right " * MOST))
    assert {ids("left")[1], ids("right")[1]} < set(got)
    assert len(got) == 16


def test_a_prompt_is_put_before_texts_and_ids():
    assert ids("deep", prompt="query: ") == ids("query: deep")
    assert ids(ids("deep"), prompt="query: ") == ids("query: deep")


def test_ids_are_decoded_and_encoded_again_without_special_tokens_being_added():
    whole = ids("deep learning")
    assert ids(whole) == whole
    assert ids(whole[1:-1]) == whole[1:-1]


def test_an_id_outside_the_vocabulary_is_named():
    with pytest.raises(Validation, match="token id 30522, the model's vocabulary ends at 30521"):
        ids([30522])


def test_an_id_outside_the_vocabulary_decodes_to_nothing():
    assert TOKENIZATION.decode([30522], skip_special_tokens=True) == ""
    assert TOKENIZATION.decode([2**32 - 1, 2784], skip_special_tokens=True) == "deep"


def test_one_bad_input_fails_all():
    with pytest.raises(Empty):
        TOKENIZATION.encode(["fine", ""], CUT, None)


def test_special_tokens_are_no_content_even_where_there_are_no_others():
    word, blank = TOKENIZATION.encode(["deep", " "], CUT, None)
    assert word.content.tolist() == [False, True, False]
    assert blank.content.tolist() == [False, False]


def test_tokens_bear_the_bytes_that_they_stand_for():
    text = "é 日本 deep"
    tokens = TOKENIZATION.tokenize(text, add_special_tokens=True, prompt=None, limit=16)
    assert [(tokens[0]["text"], tokens[0]["special"], tokens[0]["start"], tokens[0]["stop"])] == [
        ("[CLS]", True, None, None)
    ]
    for token in tokens[1:-1]:
        assert text.encode()[token["start"] : token["stop"]].decode() == token["text"]
    assert [token["text"] for token in tokens[1:-1]] == ["é", "日", "本", "deep"]


def test_tokenize_refuses_nothing_and_too_much_and_cuts_neither():
    with pytest.raises(Empty):
        TOKENIZATION.tokenize("", add_special_tokens=True, prompt="query: ", limit=16)
    with pytest.raises(Validation, match="characters"):
        TOKENIZATION.tokenize("x" * (MOST + 1), add_special_tokens=True, prompt=None, limit=16)
    assert len(TOKENIZATION.tokenize("a " * 100, add_special_tokens=False, prompt=None, limit=16)) == 100


def test_threads_with_different_limits_do_not_disturb_each_other():
    text = "a " * 200

    def count(limit):
        (encoded,) = TOKENIZATION.encode([text], TextLimits(limit, truncate=True, direction="right"), None)
        return len(encoded.ids)

    limits = [4 + number % 60 for number in range(400)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, limits)) == limits
