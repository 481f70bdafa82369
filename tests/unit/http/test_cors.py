"""The fields that let a page of any origin use the service, and the methods of a path."""

import pytest

from embedfleet.http.cors import CORS, PREFLIGHT, allow


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (["GET"], b"GET,HEAD"),
        (["POST"], b"POST"),
        (["GET", "POST"], b"POST,GET,HEAD"),
        (["POST", "GET", "POST"], b"POST,GET,HEAD"),
        (["HEAD"], b"HEAD"),
    ],
)
def test_a_path_names_its_methods_and_head_wherever_there_is_get(methods, expected):
    assert allow(methods) == ((b"allow", expected),)


@pytest.mark.parametrize("methods", [[], ["PATCH"]])
def test_a_path_without_a_known_method_has_no_field(methods):
    assert allow(methods) == ()


def test_any_origin_may_read_a_reply_and_send_json():
    assert dict(CORS)[b"access-control-allow-origin"] == b"*"
    assert dict(PREFLIGHT) == dict(CORS) | {
        b"access-control-allow-methods": b"GET,POST",
        b"access-control-allow-headers": b"content-type",
    }


def test_a_cache_keeps_the_replies_to_different_origins_apart():
    assert b"origin" in dict(CORS)[b"vary"].split(b", ")
