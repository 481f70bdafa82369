"""OpenAI's route: the fields of its requests, and equal numbers in float and base64."""

from base64 import b64decode

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from embedfleet.dialects.json_body import read_object
from embedfleet.dialects.serving import openai
from embedfleet.errors import WrongShape


def parse(value):
    return openai.parse_embeddings(read_object(b"application/json", orjson.dumps(value)))


def test_the_model_and_the_user_change_nothing():
    assert parse({"input": "x", "model": "any", "user": "u"}) == parse({"input": "x"})


@pytest.mark.parametrize("value", ["hex", None, 1])
def test_an_unknown_encoding_is_refused(value):
    with pytest.raises(WrongShape, match="encoding_format"):
        parse({"input": "x", "encoding_format": value})


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 8)),
        elements=st.floats(-1, 1, width=32),
    )
)
def test_base64_and_float_carry_the_same_vectors(vectors):
    as_float = orjson.loads(openai.render_embeddings(vectors, base64=False, model="m", tokens=3))
    as_base64 = orjson.loads(openai.render_embeddings(vectors, base64=True, model="m", tokens=3))
    for index, row in enumerate(vectors):
        number = np.array(as_float["data"][index]["embedding"], dtype=np.float32)
        packed = np.frombuffer(b64decode(as_base64["data"][index]["embedding"]), dtype="<f4")
        np.testing.assert_array_equal(number, row)
        np.testing.assert_array_equal(packed, row)
        assert as_float["data"][index]["index"] == index
    assert as_float["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert (as_float["object"], as_float["model"]) == ("list", "m")
