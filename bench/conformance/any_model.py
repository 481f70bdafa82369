"""The part of the table that is the same whatever the model: tokens, routes, and what the web framework says."""

from collections.abc import Sequence

from bench.conformance import checks
from bench.conformance.case import Case, Facts, post
from bench.conformance.checks import error, is_empty, is_json, is_not_computed, plain
from embedfleet.http.client import Reply

TARGET = "Failed to deserialize the JSON body into the target type: "
"""How the framework begins to say that JSON is not of the form that is wanted."""

_SYNTAX = "Failed to parse the request body as JSON: "
_NO_JSON = "Expected request with `Content-Type: application/json`"
_OWN_INFO = "it answers for its replicas"
_INFO = [
    "model_id", "model_sha", "model_dtype", "served_model_name", "model_type", "max_concurrent_requests",
    "max_input_length", "max_batch_tokens", "max_batch_requests", "max_client_batch_size", "auto_truncate",
    "tokenization_workers", "version", "sha", "docker_label",
]  # fmt: skip


def cases_of_any_model(facts: Facts) -> list[Case]:
    """For a server of whatever kind of model."""
    return [*_tokens(facts), *_routes(facts), *_framework(facts)]


def _tokens(facts: Facts) -> list[Case]:
    def are_tokens(value: Sequence[Sequence[dict[str, object]]]) -> bool:
        return all(set(token) == {"id", "text", "special", "start", "stop"} for row in value for token in row)

    tokens = checks.json_where("tokens with id, text, special, start, stop", are_tokens)
    bare = checks.json_where("no special tokens", lambda value: not any(token["special"] for token in value[0]))
    texts = checks.json_where("a list of one text", lambda value: len(value) == 1 and isinstance(value[0], str))
    return [
        post("tokenize one", "/tokenize", {"inputs": "a cat"}, tokens, is_json, is_not_computed),
        post("tokenize a batch", "/tokenize", {"inputs": ["a", "b"]}, tokens),
        post(
            "tokenize without special tokens", "/tokenize", {"inputs": "a", "add_special_tokens": False}, tokens, bare
        ),
        post("tokenize nothing", "/tokenize", {"inputs": []}, error("Empty", "`inputs` cannot be empty"), status=400),
        post("tokenize a number", "/tokenize", {"inputs": 1}, plain(TARGET), status=422, is_loose=True),
        post(
            "tokenize too many characters",
            "/tokenize",
            {"inputs": "x" * (250 * facts.length + 1)},
            error(
                "Validation",
                f"Input validation error: `inputs` must have less than {250 * facts.length} characters",
                whole=False,
            ),
            status=422,
        ),
        post("decode", "/decode", {"ids": [5, 6]}, texts, is_json, is_not_computed),
        post("decode a batch", "/decode", {"ids": [[5, 6]]}, texts),
        post("decode nothing", "/decode", {"ids": []}, error("Empty", "`input_ids` cannot be empty"), status=400),
        post("decode texts", "/decode", {"ids": ["a"]}, plain(TARGET), status=422, is_loose=True),
    ]


def _routes(_: Facts) -> list[Case]:
    in_order = checks.json_where(
        f"the fields {', '.join(_INFO)} in this order", lambda value: list(value)[: len(_INFO)] == _INFO
    )
    return [
        Case("info", "GET", "/info", checks=(in_order, is_json), content_type=None),
        *(
            Case(f"health {path}", "GET", path, checks=(is_empty,), content_type=None)
            for path in ("/health", "/ping", "/")
        ),
        Case("metrics", "GET", "/metrics", content_type=None, checks=(_tells_metrics,), differs=_OWN_INFO),
        Case("an unknown path", "GET", "/no/such/path", content_type=None, status=404, checks=(is_empty,)),
        Case("an unknown path, posted to", "POST", "/no/such/path", {"inputs": "a"}, status=404, checks=(is_empty,)),
        Case("no TEI path of others", "GET", "/v1/models", content_type=None, status=404, checks=(is_empty,)),
        *(
            Case(f"GET {path}", "GET", path, content_type=None, status=405, checks=(is_empty,))
            for path in ("/embed", "/rerank", "/predict", "/tokenize", "/v1/embeddings")
        ),
        Case("DELETE /embed", "DELETE", "/embed", content_type=None, status=405, checks=(is_empty,)),
        Case("POST /info", "POST", "/info", {}, status=405, checks=(is_empty,)),
        Case(
            "any origin may read",
            "GET",
            "/info",
            content_type=None,
            checks=(checks.header("access-control-allow-origin", "*"),),
        ),
        Case("HEAD of health", "HEAD", "/health", content_type=None, checks=(is_empty,)),
    ]


def _tells_metrics(reply: Reply, facts: Facts) -> str:
    named = b"te_request_count" in reply.body and b"te_queue_size" in reply.body
    return checks.header("content-type", "text/plain; charset=utf-8")(reply, facts) or (
        "" if named else "te_request_count or te_queue_size is missing"
    )


def _framework(facts: Facts) -> list[Case]:
    path, good = (
        ("/rerank", b'{"query":"q","texts":["a"]}') if facts.kind == "reranker" else ("/tokenize", b'{"inputs":"a"}')
    )
    name = "texts" if facts.kind == "reranker" else "inputs"

    def refused(told: str, body: bytes, status: int, text: str, content_type: str | None = "application/json") -> Case:
        return Case(told, "POST", path, body, content_type, status, (plain(text), is_not_computed), is_loose=True)

    return [
        refused("no content type", good, 415, _NO_JSON, None),
        refused("another content type", good, 415, _NO_JSON, "text/plain"),
        Case("a content type with parameters", "POST", path, good, "application/json; charset=utf-8"),
        Case("a content type of JSON's kin", "POST", path, good, "application/vnd.api+json"),
        refused("no body", b"", 400, _SYNTAX),
        refused("half of a body", good[:-1], 400, _SYNTAX),
        refused("more than a body", good + b"x", 400, _SYNTAX),
        refused("NaN", b'{"%b":NaN}' % name.encode(), 400, _SYNTAX),
        refused("bytes that are not UTF-8", b'{"%b":"\xff"}' % name.encode(), 400, _SYNTAX),
        refused("half of a surrogate pair", b'{"%b":"\\ud83d"}' % name.encode(), 400, _SYNTAX),
        refused("brackets without end", b'{"%b":%b' % (name.encode(), b"[" * 50_000), 400, _SYNTAX),
        refused("a list for a body", b"[]", 422, TARGET),
        refused("a field of another type", b'{"%b":{}}' % name.encode(), 422, TARGET),
        refused("no field", b"{}", 422, TARGET),
    ]
