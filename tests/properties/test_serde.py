"""The second reading of JSON agrees with two other parsers, and with the first reading on bodies that this accepts."""

import json

import orjson
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from embedfleet.dialects.json_body import Fields, read_object
from embedfleet.dialects.serde import tei_structs
from embedfleet.dialects.serde.error_wording import read_fields
from embedfleet.dialects.serde.json_reader import Fault, JsonReader
from embedfleet.dialects.serde.shapes import ANYTHING
from embedfleet.dialects.serving import openai, tei
from embedfleet.errors import Empty, RequestError

numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=6))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
ROUTES = [
    (tei_structs.EMBED, tei.parse_embed),
    (tei_structs.EMBED_ALL, tei.parse_embed_all),
    (tei_structs.EMBEDDINGS, openai.parse_embeddings),
    (tei_structs.RERANK, tei.parse_rerank),
    (tei_structs.PREDICT, tei.parse_predict),
    (tei_structs.SIMILARITY, tei.parse_similarity),
    (tei_structs.TOKENIZE, tei.parse_tokenize),
    (tei_structs.DECODE, tei.parse_decode),
]
GOOD = [
    b'{"inputs":"a b","truncate":null,"truncation_direction":"left","prompt_name":"q","dimensions":3}',
    b'{"inputs":[[1,2],"c"],"inputs_":{"inputs":[1.5e3]}}',
    b'{"input":["a","b"],"model":"m","encoding_format":"base64","user":null}',
    b'{"query":"q","texts":["a","b\\n\\u00fc"],"raw_scores":true,"return_text":false}',
    b'{"inputs":[["a"],["b","c"]],"raw_scores":true}',
    b'{"inputs":{"source_sentence":"s","sentences":["a"]},"parameters":{"truncate":true,"prompt_name":null}}',
    b'{"inputs":["a"],"add_special_tokens":false}',
    b'{"ids":[[1],[2,3]],"skip_special_tokens":true}',
]
SPLICES = [
    b",",
    b":",
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b"null",
    b"5",
    b"-",
    b"e",
    b" ",
    b"\\",
    b"\xff",
    b'"inputs":"a",',
    b"\n",
]


@given(value=values)
@settings(max_examples=200, deadline=None)
def test_a_value_is_read_as_it_was_written(value):
    text = orjson.dumps(value)
    reader = JsonReader(text)
    assert ANYTHING.read(reader, "") == orjson.loads(text)
    assert reader.index == len(text)


def strict_end(body: bytes) -> int:
    """Index after the first value, by the standard library's parser; -1 if there is none."""

    def refuse(name):
        raise ValueError(name)

    text = body.decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(" \t\n\r"))
    try:
        _, end = json.JSONDecoder(parse_constant=refuse).raw_decode(text, start)
    except ValueError:
        return -1
    return len(text[:end].encode("utf-8", "surrogateescape"))


def skipped_end(body: bytes) -> int:
    """Index after the first value, by our reader; -1 if there is none."""
    reader = JsonReader(body)
    try:
        reader.skip()
    except Fault:
        return -1
    return reader.index


@st.composite
def damaged(draw):
    """A good body with some bytes inserted, removed or doubled."""
    body = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 6)))
        body = body[:start] + draw(st.sampled_from([b"", body[start:end] * 2, *SPLICES])) + body[end:]
    return body


@given(body=damaged())
@example(body=b'{"a":1e5,"b":[{},[]],"c":"\\ud800"}x')
@settings(max_examples=200, deadline=None)
def test_skipped_values_are_those_that_the_standard_library_accepts(body):
    assume(body.lstrip()[:1] in b"{[")  # the other parser would accept the 5 of ``5e``
    assert skipped_end(body) == strict_end(body)


@given(body=damaged(), route=st.sampled_from(ROUTES))
@example(body=b'{"inputs":"a","inputs":"b"}', route=ROUTES[0])
@example(body=b'{"ids":[1],"\\u0069ds":[2]}', route=ROUTES[7])
@example(body=b'{"inputs":{"source_sentence":"s","sentences":["a"],"sentences":["a"]}}', route=ROUTES[5])
@settings(max_examples=200, deadline=None)
def test_the_fast_reading_takes_nothing_that_the_slow_one_refuses_or_reads_otherwise(body, route):
    struct, parse = route
    outcomes = []
    for read in (lambda: read_object(b"application/json", body, struct), lambda: Fields(read_fields(body, struct))):
        try:
            outcomes.append(parse(read()))
        except (RequestError, Empty) as error:
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]
