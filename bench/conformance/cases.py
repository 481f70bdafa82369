"""The table: what is sent, what TEI 1.9 answers. Pure; limits are those that the server states."""

from collections.abc import Sequence

from bench.conformance import checks
from bench.conformance.case import Case, Facts, post
from bench.conformance.checks import error, is_computed, is_empty, is_json, is_not_computed, openai_error, plain
from embedfleet.http.client import Reply

_EMPTY = "Input validation error: `inputs` cannot be empty"
_TARGET = "Failed to deserialize the JSON body into the target type: "
_SYNTAX = "Failed to parse the request body as JSON: "
_NO_JSON = "Expected request with `Content-Type: application/json`"
_ANY_SIZE = "it cuts batches of any size to what its replicas take"
_OWN_INFO = "it answers for its replicas"
_TEXTS = ["What is Deep Learning?", "the price of fish", "a"]
_INFO = [
    "model_id", "model_sha", "model_dtype", "served_model_name", "model_type", "max_concurrent_requests",
    "max_input_length", "max_batch_tokens", "max_batch_requests", "max_client_batch_size", "auto_truncate",
    "tokenization_workers", "version", "sha", "docker_label",
]  # fmt: skip


def cases(facts: Facts) -> list[Case]:
    """Those for a server's kind of model."""
    own = {"embedding": _embedding, "reranker": _reranker, "classifier": _classifier, "splade": _splade}[facts.kind]
    return [*own(facts), *_tokens(facts), *_routes(facts), *_framework(facts)]


def _too_many(name: str, path: str, body: object, facts: Facts) -> Case:
    """One input more than may be."""
    refusal = error("Validation", f"batch size {facts.batch + 1} > maximum allowed batch size {facts.batch}")
    return post(name, path, body, refusal, is_not_computed, status=422, differs=_ANY_SIZE)


def _long(facts: Facts) -> str:
    """A text of more tokens than an input may have."""
    return "word " * (facts.length + 50)


def _embedding(facts: Facts) -> list[Case]:
    text, batch = _TEXTS[0], facts.batch
    return [
        post("embed one", "/embed", {"inputs": text}, checks.vectors(1), is_json, is_computed),
        post("embed a batch", "/embed", {"inputs": _TEXTS}, checks.vectors(3), is_computed),
        post("embed a batch of one", "/embed", {"inputs": [text]}, checks.vectors(1)),
        post("embed as many as may be", "/embed", {"inputs": ["a"] * batch}, checks.vectors(batch)),
        post("embed ids", "/embed", {"inputs": [5, 6, 7]}, checks.vectors(1), is_computed),
        post("embed a batch of ids", "/embed", {"inputs": [[5, 6], [7]]}, checks.vectors(2)),
        post("embed texts and ids", "/embed", {"inputs": ["a", [5, 6]]}, checks.vectors(2)),
        post("embed without normalize", "/embed", {"inputs": text, "normalize": False}, checks.vectors(1, unit=None)),
        post("embed to fewer dimensions", "/embed", {"inputs": text, "dimensions": 2}, checks.vectors(1, cut=2)),
        post("embed with dimensions null", "/embed", {"inputs": text, "dimensions": None}, checks.vectors(1)),
        post("embed with truncate null", "/embed", {"inputs": text, "truncate": None}, checks.vectors(1)),
        post("embed with prompt_name null", "/embed", {"inputs": text, "prompt_name": None}, checks.vectors(1)),
        post("embed with a field that nobody knows", "/embed", {"inputs": text, "x": {"y": []}}, checks.vectors(1)),
        post("embed a long text, cut", "/embed", {"inputs": _long(facts), "truncate": True}, checks.vectors(1)),
        *(
            post(
                f"embed cut at the {side}",
                "/embed",
                {"inputs": _long(facts), "truncate": True, "truncation_direction": side},
                checks.vectors(1),
            )
            for side in ("Left", "Right", "left", "right")
        ),
        post("embed nothing", "/embed", {"inputs": []}, error("Empty", _EMPTY), is_not_computed, status=400),
        post("embed an empty text", "/embed", {"inputs": ""}, error("Empty", _EMPTY), status=400),
        post("embed an empty text among others", "/embed", {"inputs": ["a", ""]}, error("Empty", _EMPTY), status=400),
        post("embed no ids among texts", "/embed", {"inputs": ["a", []]}, error("Empty", _EMPTY), status=400),
        _too_many("embed too many", "/embed", {"inputs": ["a"] * (batch + 1)}, facts),
        post(
            "embed a long text, not cut",
            "/embed",
            {"inputs": _long(facts), "truncate": False},
            error(
                "Validation",
                f"Input validation error: `inputs` must have less than {facts.length} tokens. Given: ",
                whole=False,
            ),
            status=422,
        ),
        post(
            "embed to no dimensions",
            "/embed",
            {"inputs": text, "dimensions": 0},
            error("Validation", "`dimensions` should be positive"),
            status=422,
        ),
        post(
            "embed to too many dimensions",
            "/embed",
            {"inputs": text, "dimensions": facts.dimensions + 1},
            error("Validation", "`dimensions` should be smaller than the maximum embedding dimension."),
            status=422,
        ),
        post(
            "embed with an unknown prompt",
            "/embed",
            {"inputs": text, "prompt_name": "no such prompt"},
            error("Validation", "`default-prompt-name` is set to `no such prompt` but it was not found", whole=False),
            status=422,
        ),
        post("embed_all one", "/embed_all", {"inputs": text}, checks.matrices(1), is_json, is_computed),
        post("embed_all a batch", "/embed_all", {"inputs": _TEXTS}, checks.matrices(3), is_computed),
        post("embed_all nothing", "/embed_all", {"inputs": []}, error("Empty", _EMPTY), status=400),
        post(
            "embed_sparse without SPLADE",
            "/embed_sparse",
            {"inputs": text},
            error("Backend", "Backend error: Model is not an embedding model with SPLADE pooling"),
            status=424,
        ),
        *_similarity(facts),
        *_openai(facts),
        post(
            "rerank by an embedder",
            "/rerank",
            {"query": "q", "texts": ["a"]},
            error("Backend", "Backend error: model is not a re-ranker model"),
            status=424,
        ),
        post(
            "rerank no texts, whatever the model",
            "/rerank",
            {"query": "q", "texts": []},
            error("Empty", "`texts` cannot be empty"),
            status=400,
        ),
        post(
            "predict by an embedder",
            "/predict",
            {"inputs": "a"},
            error("Backend", "Backend error: Model is not a classifier model"),
            status=424,
        ),
        *(
            post(f"the main route {path} embeds", path, {"inputs": text}, checks.vectors(1))
            for path in ("/", "/invocations")
        ),
    ]


def _similarity(facts: Facts) -> list[Case]:
    ask = {"source_sentence": "a cat", "sentences": ["a kitten", "a tax form"]}
    scores = checks.json_where(
        "two cosines", lambda value: len(value) == 2 and all(-1.01 <= one <= 1.01 for one in value)
    )
    return [
        post("similarity", "/similarity", {"inputs": ask}, scores, is_json, is_computed),
        post("similarity with parameters null", "/similarity", {"inputs": ask, "parameters": None}, scores),
        post("similarity with parameters", "/similarity", {"inputs": ask, "parameters": {"truncate": True}}, scores),
        post(
            "similarity to nothing",
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": []}},
            error("Empty", "`sentences` cannot be empty"),
            status=400,
        ),
        _too_many(
            "similarity to too many",
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"] * facts.batch}},
            facts,
        ),
        post("similarity without inputs", "/similarity", {}, plain(_TARGET), status=422, is_loose=True),
    ]


def _openai(facts: Facts) -> list[Case]:
    one = {"input": _TEXTS[0], "model": "m", "user": "u"}
    found: list[Case] = []
    for path in ("/v1/embeddings", "/embeddings"):
        found += [
            post(f"{path} one", path, one, checks.embeddings(1), is_json, is_computed),
            post(f"{path} batch", path, {"input": _TEXTS}, checks.embeddings(3)),
            post(f"{path} ids", path, {"input": [5, 6, 7]}, checks.embeddings(1)),
            post(f"{path} base64", path, one | {"encoding_format": "base64"}, checks.embeddings(1, base64=True)),
            post(f"{path} float", path, one | {"encoding_format": "float"}, checks.embeddings(1)),
            post(f"{path} nothing", path, {"input": []}, openai_error(400, "Empty", _EMPTY), status=400),
            post(f"{path} empty text", path, {"input": ""}, openai_error(400, "Empty", _EMPTY), status=400),
            post(
                f"{path} too many",
                path,
                {"input": ["a"] * (facts.batch + 1)},
                openai_error(
                    422, "Validation", f"batch size {facts.batch + 1} > maximum allowed batch size {facts.batch}"
                ),
                status=422,
                differs=_ANY_SIZE,
            ),
            post(
                f"{path} format null", path, one | {"encoding_format": None}, plain(_TARGET), status=422, is_loose=True
            ),
            post(f"{path} without input", path, {"model": "m"}, plain(_TARGET), status=422, is_loose=True),
        ]
    return found


def _reranker(facts: Facts) -> list[Case]:
    ask = {"query": _TEXTS[0], "texts": _TEXTS}
    same = checks.json_where("the higher index first", lambda rows: [row["index"] for row in rows] == [2, 1, 0])
    return [
        post("rerank", "/rerank", ask, checks.ranks(3), is_json, is_computed),
        post("rerank one", "/rerank", {"query": "q", "texts": ["a"]}, checks.ranks(1)),
        post("rerank with texts", "/rerank", ask | {"return_text": True}, checks.ranks(3, texts=_TEXTS)),
        post("rerank raw", "/rerank", ask | {"raw_scores": True}, checks.ranks(3, within=None)),
        post("rerank equals", "/rerank", {"query": "q", "texts": ["same"] * 3}, checks.ranks(3), same),
        post(
            "rerank as many as may be",
            "/rerank",
            {"query": "q", "texts": ["a"] * facts.batch},
            checks.ranks(facts.batch),
        ),
        post(
            "rerank a long text, cut",
            "/rerank",
            {"query": "q", "texts": [_long(facts)], "truncate": True},
            checks.ranks(1),
        ),
        post(
            "rerank nothing",
            "/rerank",
            {"query": "q", "texts": []},
            error("Empty", "`texts` cannot be empty"),
            status=400,
        ),
        _too_many("rerank too many", "/rerank", {"query": "q", "texts": ["a"] * (facts.batch + 1)}, facts),
        post(
            "rerank a long text, not cut",
            "/rerank",
            {"query": "q", "texts": [_long(facts)], "truncate": False},
            error(
                "Validation",
                f"Input validation error: `inputs` must have less than {facts.length} tokens. Given: ",
                whole=False,
            ),
            status=422,
        ),
        *(
            post(
                f"rerank without {name}",
                "/rerank",
                {k: v for k, v in ask.items() if k != name},
                plain(_TARGET),
                status=422,
                is_loose=True,
            )
            for name in ask
        ),
        *(
            post(f"rerank with {name} null", "/rerank", ask | {name: None}, plain(_TARGET), status=422, is_loose=True)
            for name in ("raw_scores", "return_text", "query", "texts")
        ),
        *_does_not_embed(),
        *(
            [post("predict by a reranker", "/predict", {"inputs": "a"}, checks.classes)]
            if facts.is_cross_encoder
            else []
        ),
        *(post(f"the main route {path} reranks", path, ask, checks.ranks(3)) for path in ("/", "/invocations")),
    ]


def _classifier(facts: Facts) -> list[Case]:
    return [
        post("predict one", "/predict", {"inputs": "a"}, checks.classes, is_json, is_computed),
        post("predict one in a list", "/predict", {"inputs": ["a"]}, checks.classes),
        post("predict a pair", "/predict", {"inputs": ["a", "b"]}, checks.classes),
        post("predict a batch", "/predict", {"inputs": [["a"], ["b"]]}, checks.batch_of_classes(2)),
        post("predict a batch with pairs", "/predict", {"inputs": [["a"], ["b", "c"]]}, checks.batch_of_classes(2)),
        post("predict raw", "/predict", {"inputs": "a", "raw_scores": True}, is_json, is_computed),
        *(
            post(f"predict {told}", "/predict", {"inputs": value}, plain(_TARGET), status=422, is_loose=True)
            for told, value in (
                ("three texts", ["a", "b", "c"]),
                ("nothing", []),
                ("a batch of nothing", [[]]),
                ("a number", 1),
            )
        ),
        _too_many("predict too many", "/predict", {"inputs": [["a"]] * (facts.batch + 1)}, facts),
        post("predict an empty text", "/predict", {"inputs": ""}, error("Empty", _EMPTY), status=400),
        *_does_not_embed(),
        *(
            []
            if facts.labels == 1
            else [
                post(
                    "rerank by a classifier",
                    "/rerank",
                    {"query": "q", "texts": ["a"]},
                    error("Backend", "Backend error: model is not a re-ranker model"),
                    status=424,
                )
            ]
        ),
        *(
            post(f"the main route {path} predicts", path, {"inputs": "a"}, checks.classes)
            for path in ("/", "/invocations")
        ),
    ]


def _does_not_embed() -> list[Case]:
    refusal = error("Backend", "Backend error: Model is not an embedding model")
    return [
        post("embed by another kind", "/embed", {"inputs": "a"}, refusal, is_not_computed, status=424),
        post("embed_all by another kind", "/embed_all", {"inputs": "a"}, refusal, status=424),
        post(
            "OpenAI's route by another kind",
            "/v1/embeddings",
            {"input": "a"},
            openai_error(424, "Backend", "Backend error: Model is not an embedding model"),
            status=424,
        ),
    ]


def _splade(facts: Facts) -> list[Case]:
    return [
        post("embed_sparse one", "/embed_sparse", {"inputs": "a"}, checks.sparse(1), is_json, is_computed),
        post("embed_sparse a batch", "/embed_sparse", {"inputs": _TEXTS}, checks.sparse(3)),
        post("embed_sparse nothing", "/embed_sparse", {"inputs": []}, error("Empty", _EMPTY), status=400),
        _too_many("embed_sparse too many", "/embed_sparse", {"inputs": ["a"] * (facts.batch + 1)}, facts),
        post(
            "embed with SPLADE, normalised",
            "/embed",
            {"inputs": "a"},
            error("Backend", "Backend error: `normalize` is not available for SPLADE models"),
            status=424,
        ),
        post(
            "embed with SPLADE, not normalised",
            "/embed",
            {"inputs": "a", "normalize": False},
            checks.vectors(1, unit=None),
        ),
        post(
            "embed_all with SPLADE",
            "/embed_all",
            {"inputs": "a"},
            error("Backend", "Backend error: `embed_all` is not available for SPLADE models"),
            status=424,
        ),
        *(
            post(f"the main route {path} is sparse", path, {"inputs": "a"}, checks.sparse(1))
            for path in ("/", "/invocations")
        ),
    ]


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
        post("tokenize a number", "/tokenize", {"inputs": 1}, plain(_TARGET), status=422, is_loose=True),
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
        post("decode texts", "/decode", {"ids": ["a"]}, plain(_TARGET), status=422, is_loose=True),
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
        refused("a list for a body", b"[]", 422, _TARGET),
        refused("a field of another type", b'{"%b":{}}' % name.encode(), 422, _TARGET),
        refused("no field", b"{}", 422, _TARGET),
    ]
