"""A reader finds the texts in a body of its shape, and leaves a body of another shape to a replica."""

from array import array

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedfleet.dialects.splitting.list_reply import NUMBERS, PREDICTIONS, VECTORS
from embedfleet.dialects.splitting.readers import InputsReader, PredictReader, RerankReader, SimilarityReader
from embedfleet.errors import Validation

MOST = 6
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ids = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5)
scalars = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
pairs = st.lists(texts, min_size=1, max_size=2)

INPUTS, RERANK, PREDICT, SIMILARITY = InputsReader("inputs"), RerankReader(), PredictReader(), SimilarityReader()


def read_inputs(value):
    return INPUTS.read("embed", VECTORS, {"inputs": value, "truncate": True}, MOST)


@given(st.lists(texts | ids, min_size=1, max_size=MOST))
@settings(max_examples=40, deadline=None)
def test_texts_and_lists_of_ids_are_counted_one_by_one(items):
    found = read_inputs(items)
    assert found is not None
    assert found.count == len(items)
    assert found.can_split is (len(items) > 1)


@given(texts | ids)
@settings(max_examples=40, deadline=None)
def test_a_text_that_is_not_in_a_list_is_one(value):
    found = read_inputs(value)
    assert found is not None
    assert found.count == 1


@given(st.lists(texts | ids, max_size=4), scalars | st.just({}) | st.just([1, "a"]) | st.just([-1]), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_one_item_of_another_kind_leaves_the_whole_body_to_a_replica(items, odd, place):
    if type(odd) in (int, bool) and not items:
        return
    items.insert(min(place, len(items)), odd)
    try:
        array("I", items)
    except (TypeError, OverflowError):
        assert read_inputs(items) is None


@pytest.mark.parametrize("value", [[-1], [2**32], [1.5], [], {}, None, 7, True, [[-1]], [["a"]], [[1], {}]])
def test_inputs_that_are_neither_text_nor_ids_are_left_to_a_replica(value):
    found = read_inputs(value)
    assert found is None or value == []


@given(texts, st.lists(texts, min_size=1, max_size=MOST))
@settings(max_examples=40, deadline=None)
def test_a_ranking_has_a_query_and_texts(query, ranked):
    found = RERANK.read("rerank", NUMBERS, {"query": query, "texts": ranked}, MOST)
    assert found is not None
    assert found.count == len(ranked)
    assert found.is_rerank
    assert RERANK.read("rerank", NUMBERS, {"texts": ranked}, MOST) is None
    assert RERANK.read("rerank", NUMBERS, {"query": [query], "texts": ranked}, MOST) is None
    assert RERANK.read("rerank", NUMBERS, {"query": query, "texts": [*ranked[:-1], None]}, MOST) is None
    assert RERANK.read("rerank", NUMBERS, {"query": query, "texts": []}, MOST) is None


@given(st.lists(pairs, min_size=1, max_size=MOST))
@settings(max_examples=40, deadline=None)
def test_a_list_of_lists_is_a_batch_and_a_list_of_one_or_two_texts_is_not(batch):
    found = PREDICT.read("predict", PREDICTIONS, {"inputs": batch}, MOST)
    assert found is not None
    assert found.count == len(batch)
    for one in (batch[0], batch[0][0]):
        single = PREDICT.read("predict", PREDICTIONS, {"inputs": one}, MOST)
        assert single is not None
        assert single.count == 1
        assert not single.can_split


@pytest.mark.parametrize("value", [[], [[]], ["a", "b", "c"], [["a", "b", "c"]], [["a"], "b"], [[1]], None, {"a": 1}])
def test_inputs_that_are_not_texts_and_pairs_are_left_to_a_replica(value):
    assert PREDICT.read("predict", PREDICTIONS, {"inputs": value}, MOST) is None


@given(texts, st.lists(texts, min_size=1, max_size=MOST))
@settings(max_examples=40, deadline=None)
def test_sentences_are_compared_with_one_source(source, sentences):
    found = SIMILARITY.read(
        "similarity", NUMBERS, {"inputs": {"source_sentence": source, "sentences": sentences}}, MOST
    )
    assert found is not None
    assert found.count == len(sentences)
    for inputs in (
        {"sentences": sentences},
        {"source_sentence": source},
        {"source_sentence": 1, "sentences": sentences},
    ):
        assert SIMILARITY.read("similarity", NUMBERS, {"inputs": inputs}, MOST) is None


@given(st.integers(MOST + 1, 40), st.sampled_from(["a", 1.5, None]))
@settings(max_examples=40, deadline=None)
def test_too_many_texts_are_refused_before_any_of_them_is_examined(count, text):
    bodies = [
        (INPUTS, {"inputs": [text] * count}),
        (RERANK, {"query": "q", "texts": [text] * count}),
        (PREDICT, {"inputs": [text] * count}),
        (SIMILARITY, {"inputs": {"source_sentence": "s", "sentences": [text] * count}}),
    ]
    for reader, body in bodies:
        with pytest.raises(Validation, match=f"batch size {count} > maximum allowed batch size {MOST}"):
            reader.read("x", NUMBERS, body, MOST)


@given(st.lists(texts, min_size=2, max_size=MOST), st.data())
@settings(max_examples=40, deadline=None)
def test_a_part_asks_for_its_own_texts_with_the_options_of_all(items, data):
    found = read_inputs(items)
    assert found is not None
    chosen = data.draw(st.lists(st.integers(0, len(items) - 1), min_size=1, unique=True))
    assert orjson.loads(found.body(chosen)) == {"inputs": [items[place] for place in chosen], "truncate": True}
