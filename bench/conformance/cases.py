"""The table: what is sent, what TEI 1.9 answers. Pure; limits are those that the server states."""

from bench.conformance import checks
from bench.conformance.any_model import TARGET, cases_of_any_model
from bench.conformance.case import Case, Facts, post
from bench.conformance.checks import error, is_computed, is_json, is_not_computed, openai_error, plain

_EMPTY = "Input validation error: `inputs` cannot be empty"
_ANY_SIZE = "it cuts batches of any size to what its replicas take"
_NULL = "it takes null for what is not said, as clients send it"
_TEXTS = ["What is Deep Learning?", "the price of fish", "a"]


def cases(facts: Facts) -> list[Case]:
    """Those for a server's kind of model."""
    own = {"embedding": _embedding, "reranker": _reranker, "classifier": _classifier, "splade": _splade}[facts.kind]
    return [*own(facts), *cases_of_any_model(facts)]


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
        post("similarity without inputs", "/similarity", {}, plain(TARGET), status=422, is_loose=True),
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
                f"{path} format null",
                path,
                one | {"encoding_format": None},
                plain(TARGET),
                status=422,
                is_loose=True,
                differs=_NULL,
            ),
            post(f"{path} without input", path, {"model": "m"}, plain(TARGET), status=422, is_loose=True),
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
                plain(TARGET),
                status=422,
                is_loose=True,
            )
            for name in ask
        ),
        *(
            post(
                f"rerank with {name} null",
                "/rerank",
                ask | {name: None},
                plain(TARGET),
                status=422,
                is_loose=True,
                differs=differs,
            )
            for name, differs in (("raw_scores", _NULL), ("return_text", _NULL), ("query", ""), ("texts", ""))
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
            post(f"predict {told}", "/predict", {"inputs": value}, plain(TARGET), status=422, is_loose=True)
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
