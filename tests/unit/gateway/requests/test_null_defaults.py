"""Null for a field that TEI takes no null for."""

import orjson
import pytest

from embedfleet.gateway.requests.null_defaults import fill_nulls

DEFAULTS = {
    "encoding_format": "float",
    "normalize": True,
    "raw_scores": False,
    "return_text": False,
    "truncation_direction": "Right",
    "add_special_tokens": True,
    "skip_special_tokens": True,
}


@pytest.mark.parametrize("field", DEFAULTS)
@pytest.mark.parametrize("spelling", ['"%s":null', '"%s" : null', '"%s"\n:\t null'])
def test_null_becomes_the_default_wherever_the_field_stands(field, spelling):
    told = spelling % field
    for body in ('{"inputs":"a",%s}', '{%s,"inputs":"a"}', '{"inputs":"a","parameters":{%s}}'):
        found = orjson.loads(fill_nulls((body % told).encode()))
        assert found["inputs"] == "a"
        assert found.get("parameters", found)[field] == DEFAULTS[field]


def test_several_are_filled_at_once():
    body = b'{"input":"a","encoding_format":null,"user":null,"dimensions":null,"truncation_direction":null}'
    right = b'{"input":"a","encoding_format":"float","user":null,"dimensions":null,"truncation_direction":"Right"}'
    assert fill_nulls(body) == right


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":null}',  # there is no default for it
        b'{"inputs":"a","prompt_name":null,"truncate":null,"dimensions":null}',  # TEI takes these
        b'{"inputs":"a","normalize":true}',
        b'{"inputs":"a","normalize":nullify}',  # no JSON
        b'{"inputs":"\\"normalize\\":null"}',  # a text
        b'{"inputs":"a\\\\\\"normalize\\":null"}',
        b'{"x\\"normalize":null,"inputs":"a"}',  # another field
        b'{"inputs":["normalize",null]}',
        b'{"inputs":"normalize","x":null}',
        b'{"inputs":["normalize","null"]}',
        b"null",
        b"",
    ],
)
def test_all_else_stays_byte_for_byte(body):
    assert fill_nulls(body) == body


def test_a_field_that_is_there_twice_is_there_twice_afterwards():
    assert fill_nulls(b'{"normalize":null,"normalize":null}') == b'{"normalize":true,"normalize":true}'
