"""Replacement of nulls that TEI refuses by the defaults of their fields."""

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
def test_null_becomes_the_default_at_any_place_in_the_body(field, spelling):
    told = spelling % field
    for body in ('{"inputs":"a",%s}', '{%s,"inputs":"a"}', '{"inputs":"a","parameters":{%s}}'):
        found = orjson.loads(fill_nulls((body % told).encode()))
        assert found["inputs"] == "a"
        assert found.get("parameters", found)[field] == DEFAULTS[field]


def test_several_nulls_are_replaced_at_once():
    body = b'{"input":"a","encoding_format":null,"user":null,"dimensions":null,"truncation_direction":null}'
    right = b'{"input":"a","encoding_format":"float","user":null,"dimensions":null,"truncation_direction":"Right"}'
    assert fill_nulls(body) == right


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":null}',  # there is no default for it
        b'{"inputs":"a","prompt_name":null,"truncate":null,"dimensions":null}',  # TEI takes these
        b'{"inputs":"a","normalize":true}',
        b'{"inputs":"a","normalize":nullify}',  # not JSON
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
def test_any_other_body_stays_the_same_byte_for_byte(body):
    assert fill_nulls(body) == body


def test_a_repeated_field_is_still_repeated_afterwards():
    assert fill_nulls(b'{"normalize":null,"normalize":null}') == b'{"normalize":true,"normalize":true}'
