"""Error replies have the shape of their route, and Retry-After where a retry may help."""

import orjson
import pytest

from embedfleet.dialects.error_body import is_model_mismatch
from embedfleet.dialects.error_reply import render_error
from embedfleet.errors import BodyTooLarge, Overloaded, Unhealthy, Validation


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings"])
def test_openais_routes_get_the_flat_shape(path):
    status, headers, body = render_error(path, Overloaded(retry_after_s=7))
    assert (status, orjson.loads(body)) == (429, {"message": "Model is overloaded", "code": 429, "type": "Overloaded"})
    assert (b"retry-after", b"7") in headers


def test_teis_routes_get_teis_shape():
    status, headers, body = render_error("/embed", Validation("batch size 33"))
    assert (status, orjson.loads(body)) == (422, {"error": "batch size 33", "error_type": "Validation"})
    assert not any(name == b"retry-after" for name, _ in headers)


def test_unhealthy_says_when_to_retry():
    assert (b"retry-after", b"5") in render_error("/embed", Unhealthy())[1]


def test_errors_of_the_framework_are_plain_text():
    status, headers, body = render_error("/embed", BodyTooLarge("too large"))
    assert (status, body) == (413, b"too large")
    assert headers == [(b"content-type", b"text/plain; charset=utf-8")]


@pytest.mark.parametrize(
    ("body", "is_mismatch"),
    [
        (b'{"error":"Backend error: Model is not an embedding model","error_type":"Backend"}', True),
        (b'{"error":"Backend error: model is not a re-ranker model","error_type":"Backend"}', True),
        (b'{"message":"Backend error: `normalize` is not available for SPLADE models","code":424}', True),
        (b'{"error":"Backend error: DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)","error_type":"Backend"}', False),
        (b'{"error":"Backend error: the engine is stopping","error_type":"Backend"}', False),
        (b"Model is not an embedding model", False),
        (b'["Model is not"]', False),
        (b'{"error":1}', False),
    ],
)
def test_an_error_of_every_replica_is_distinguished_from_an_error_of_one(body, is_mismatch):
    assert is_model_mismatch(body) is is_mismatch
