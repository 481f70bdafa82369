"""TEI's bodies: the accepted ones, the messages for the others, and the order of equal scores."""

import numpy as np
import orjson
import pytest

from embedfleet.dialects.json_body import read_object
from embedfleet.dialects.serving import tei
from embedfleet.errors import Empty, MalformedBody, WrongContentType, WrongShape

JSON = b"application/json"


def fields(value):
    return read_object(JSON, orjson.dumps(value))


@pytest.mark.parametrize(
    ("inputs", "expected", "batch"),
    [
        ("x", ["x"], False),
        (["a", "b"], ["a", "b"], True),
        ([1, 2, 3], [[1, 2, 3]], False),
        ([[1, 2], [3]], [[1, 2], [3]], True),
        (["a", [1, 2]], ["a", [1, 2]], True),
        ([], [[]], False),
    ],
)
def test_inputs_are_one_text_one_list_of_ids_or_a_batch(inputs, expected, batch):
    request = tei.parse_embed(fields({"inputs": inputs}))
    assert request.inputs == expected
    assert request.batch is batch


@pytest.mark.parametrize("inputs", [None, 1, {"a": 1}, [None], [["a"]], [-1], [2**32], [1.5], [True], ["a", 1]])
def test_other_inputs_fit_no_variant(inputs):
    with pytest.raises(WrongShape, match="data did not match any variant of untagged enum Input"):
        tei.parse_embed(fields({"inputs": inputs}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "missing field `inputs`"),
        ({"inputs": "x", "normalize": None}, "normalize: invalid type: null, expected a boolean"),
        ({"inputs": "x", "truncate": "yes"}, 'truncate: invalid type: string "yes", expected a boolean'),
        ({"inputs": "x", "dimensions": -1}, "dimensions: invalid type: integer `-1`, expected usize"),
        ({"inputs": "x", "dimensions": 1.5}, "dimensions: invalid type: floating point `1.5`, expected usize"),
        ({"inputs": "x", "truncation_direction": "up"}, "truncation_direction: unknown variant `up`"),
        ({"inputs": "x", "truncation_direction": None}, "truncation_direction: invalid type: null"),
        ({"inputs": "x", "prompt_name": 1}, "prompt_name: invalid type: integer `1`, expected a string"),
        ([], "invalid type: sequence, expected an object"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_value(body, message):
    with pytest.raises(WrongShape) as caught:
        tei.parse_embed(fields(body))
    assert str(caught.value).startswith("Failed to deserialize the JSON body into the target type: ")
    assert message in str(caught.value)


def test_defaults_are_teis():
    request = tei.parse_embed(fields({"inputs": "x", "truncate": None, "prompt_name": None, "unknown": 1}))
    assert request.truncation == tei.Truncation(None, "right")
    assert (request.normalize, request.dimensions, request.prompt_name) == (True, None, None)
    assert tei.parse_rerank(fields({"query": "q", "texts": ["t"]})).raw_scores is False


@pytest.mark.parametrize("name", ["Left", "left"])
def test_truncation_direction_is_read_in_either_case(name):
    assert tei.parse_embed(fields({"inputs": "x", "truncation_direction": name})).truncation.direction == "left"


@pytest.mark.parametrize(
    ("inputs", "expected", "batch"),
    [
        ("a", ["a"], False),
        (["a"], ["a"], False),
        (["a", "b"], [("a", "b")], False),
        ([["a"], ["b", "c"]], ["a", ("b", "c")], True),
    ],
)
def test_predict_reads_texts_pairs_and_batches(inputs, expected, batch):
    request = tei.parse_predict(fields({"inputs": inputs}))
    assert (list(request.inputs), request.batch) == (expected, batch)


@pytest.mark.parametrize("inputs", [["a", "b", "c"], [], [[]], [["a"], "b"], [["a", "b", "c"]], 1, [1]])
def test_predict_refuses_what_is_neither_text_nor_pair(inputs):
    with pytest.raises(WrongShape, match="PredictInput"):
        tei.parse_predict(fields({"inputs": inputs}))


@pytest.mark.parametrize(
    ("parse", "body", "message"),
    [
        (tei.parse_rerank, {"query": "q", "texts": []}, "`texts` cannot be empty"),
        (
            tei.parse_similarity,
            {"inputs": {"source_sentence": "s", "sentences": []}},
            "`inputs.sentences` cannot be empty",
        ),
        (tei.parse_tokenize, {"inputs": []}, "`inputs` cannot be empty"),
        (tei.parse_decode, {"ids": []}, "Input validation error: `input_ids` cannot be empty"),
    ],
)
def test_nothing_to_work_on_is_empty(parse, body, message):
    with pytest.raises(Empty, match=message):
        parse(fields(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"inputs": NaN}',
        b'{"inputs": "\xff"}',
        b'{"inputs": "\\ud800"}',
        b"[" * 100_000,
        b'{"inputs": "x"} trailing',
    ],
)
def test_a_body_that_is_not_json_is_malformed(body):
    with pytest.raises(MalformedBody, match="Failed to parse the request body as JSON: "):
        read_object(JSON, body)


@pytest.mark.parametrize("content_type", [None, b"", b"text/plain", b"application/x-www-form-urlencoded", b"json"])
def test_a_body_with_another_content_type_is_refused(content_type):
    with pytest.raises(WrongContentType):
        read_object(content_type, b"{}")


@pytest.mark.parametrize(
    "content_type", [b"application/json; charset=utf-8", b"Application/JSON", b"application/ld+json"]
)
def test_every_spelling_of_jsons_type_is_taken(content_type):
    assert "inputs" in read_object(content_type, b'{"inputs": 1}')


def test_ranks_are_sorted_and_among_equal_scores_the_higher_index_comes_first():
    scores = np.array([0.5, 0.9, 0.5, 0.1], dtype=np.float32)
    ranks = orjson.loads(tei.render_ranks(scores, None))
    assert [rank["index"] for rank in ranks] == [1, 2, 0, 3]
    assert "text" not in ranks[0]


def test_ranks_give_texts_back_when_asked():
    ranks = orjson.loads(tei.render_ranks(np.array([0.1, 0.2], dtype=np.float32), ["a", "b"]))
    assert ranks == [{"index": 1, "text": "b", "score": 0.2}, {"index": 0, "text": "a", "score": 0.1}]


def test_predictions_are_sorted_and_among_equal_scores_the_higher_class_comes_first():
    rows = tei.predictions(np.array([0.25, 0.5, 0.25], dtype=np.float32), ["a", "b", "c"])
    assert [row["label"] for row in rows] == ["b", "c", "a"]


def test_floats_keep_their_shortest_float32_digits():
    assert tei.render(np.array([[0.1, 1 / 3]], dtype=np.float32)) == b"[[0.1,0.33333334]]"


def test_cost_headers_are_whole_milliseconds():
    headers = dict(tei.cost_headers(tei.RequestCost(12, 5, 0.0129, 0.0009, 0.0031, 0.0079)))
    assert headers == {
        b"x-compute-type": b"gpu+optimized",
        b"x-compute-time": b"12",
        b"x-compute-characters": b"12",
        b"x-compute-tokens": b"5",
        b"x-total-time": b"12",
        b"x-tokenization-time": b"0",
        b"x-queue-time": b"3",
        b"x-inference-time": b"7",
    }
