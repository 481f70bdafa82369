"""The engine's routes behave as those of a real TEI, in cases beyond the recorded ones."""

import os
import subprocess
import sys
from http.client import HTTPConnection

import orjson
import pytest

from bench.conformance.asking import wait_for
from bench.conformance.models import write_models
from embedfleet.dialects.routes import ROUTES
from embedfleet.engine.settings import EngineSettings
from tests.services.engine import Client, serving
from tests.services.fleet import free_ports

POSTED = [
    "/embed", "/embed_all", "/embed_sparse", "/encode", "/rerank", "/predict", "/similarity", "/tokenize", "/decode",
    "/v1/embeddings", "/embeddings", "/invocations", "/vertex",
]  # fmt: skip
READ = ["/health", "/ping", "/info", "/metrics", "/docs", "/docs/", "/docs/index.html", "/api-doc/openapi.json"]
OPEN = {*READ, "/"} - {"/info"}
METHODS = {"/": "POST,GET,HEAD", **dict.fromkeys(POSTED, "POST"), **dict.fromkeys(READ, "GET,HEAD")}
ANY_ORIGIN = {
    "access-control-allow-origin": "*",
    "vary": "origin, access-control-request-method, access-control-request-headers",
}
RED = orjson.dumps({"inputs": "red"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="module")
def engines(folder):
    """A function from a kind of model to a client of its engine."""
    found = {}
    with (
        serving(EngineSettings(model=str(folder / "embedder"))) as embedder,
        serving(EngineSettings(model=str(folder / "reranker"))) as reranker,
        serving(EngineSettings(model=str(folder / "classifier"))) as classifier,
        serving(EngineSettings(model=str(folder / "splade"), pooling="splade")) as splade,
        serving(EngineSettings(model=str(folder / "embedder"), task="rerank")) as late,
        serving(EngineSettings(model=str(folder / "embedder"), api_key="s3cret")) as closed,
    ):
        found |= {"embedder": embedder, "reranker": reranker, "classifier": classifier}
        yield found | {"splade": splade, "late": late, "closed": closed}


def ask(client, method, path, body=b"", **headers):
    """Send a request; returns status, headers and body of the answer."""
    connection = HTTPConnection("127.0.0.1", client.port, timeout=60)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", METHODS)
def test_a_path_names_its_methods_to_whoever_asks_with_another(engines, path):
    allowed = METHODS[path]
    for method in ("PUT", "OPTIONS", "HEAD", "GET", "POST"):
        status, headers, body = ask(engines["embedder"], method, path)
        assert ANY_ORIGIN.items() <= headers.items()
        if method == "OPTIONS":
            assert (status, headers["allow"], headers["access-control-allow-methods"]) == (200, allowed, "GET,POST")
        elif method in allowed.split(","):
            assert (status, headers.get("allow")) in [(200, None), (303, None), (415, None)]
        else:
            assert (status, headers["allow"], body) == (405, allowed, b"")


def test_each_route_of_the_table_is_served_or_says_that_it_is_not(engines):
    for path in {route.path for route in ROUTES}:
        methods = [route.method for route in ROUTES if route.path == path and route.is_on_engine]
        wanted = ",".join([*methods, "HEAD"] if "GET" in methods else methods)
        status, headers, _ = ask(engines["embedder"], "PUT", path)
        assert (status, headers.get("allow", "")) == (405 if methods else 404, wanted), path


@pytest.mark.parametrize("path", [*METHODS, "/nope"])
def test_only_health_metrics_and_docs_are_open_without_the_key(engines, path):
    client, key = engines["closed"], {"authorization": "Bearer s3cret"}
    for method in METHODS.get(path, "GET").split(","):
        is_open = path == "/nope" or (path in OPEN and method != "POST")
        status, headers, body = ask(client, method, path)
        opened, _, _ = ask(client, method, path, **key)
        assert ANY_ORIGIN.items() <= headers.items()
        if is_open:
            assert status == opened != 401
        else:
            assert (status, body, opened == 401) == (401, b"", False)


def test_a_key_is_compared_byte_by_byte(engines):
    wrong = [
        "s3cret",
        "Bearer S3CRET",
        "bearer s3cret",
        "Bearer s3cre",
        "Bearer s3cret,",
        "Bearer  s3cret",
        "Basic s3cret",
    ]
    assert {ask(engines["closed"], "GET", "/info", authorization=text)[0] for text in wrong} == {401}
    assert ask(engines["closed"], "GET", "/info", authorization="Bearer s3cret ")[0] == 200


@pytest.mark.parametrize(
    ("kind", "instances", "path"),
    [
        ("embedder", [{"inputs": "red"}, {"inputs": ["red", "green"], "normalize": False}], "/embed"),
        ("embedder", [["red", None, "Left", None, False, 3]], "/embed"),
        ("splade", [{"inputs": "red"}, {"inputs": ["red", "green"]}], "/embed_sparse"),
        ("classifier", [{"inputs": "red"}, {"inputs": [["red"], ["a", "b"]]}], "/predict"),
        ("reranker", [{"inputs": "red"}, {"inputs": ["red", "a"]}], "/predict"),
        ("reranker", [{"query": "a", "texts": ["b", "c"], "return_text": True}], "/rerank"),
        ("late", [{"query": "a", "texts": ["b", "c"]}], "/rerank"),
    ],
)
def test_an_instance_is_answered_as_its_route_answers_it(engines, kind, instances, path):
    client = engines[kind]
    predictions = client.post("/vertex", {"instances": instances}).json["predictions"]
    assert predictions == [client.post(path, instance).json for instance in instances]


@pytest.mark.parametrize(
    ("kind", "instances", "status", "error"),
    [
        ("embedder", [{"inputs": "red"}, {"inputs": 5}], 422, "data did not match any variant of untagged enum Input"),
        ("embedder", [5], 422, "invalid type: integer `5`, expected struct EmbedRequest"),
        ("classifier", [{"inputs": "red", "raw_scores": 1}], 422, "invalid type: integer `1`, expected a boolean"),
        ("embedder", [{"inputs": "red"}, {"inputs": ""}], 400, "Input validation error: `inputs` cannot be empty"),
        ("embedder", [{"query": "a", "texts": ["b"]}], 424, "Backend error: model is not a re-ranker model"),
        ("reranker", [{"query": "a", "texts": []}], 400, "`texts` cannot be empty"),
    ],
)
def test_an_instance_that_is_refused_fails_them_all(engines, kind, instances, status, error):
    answer = engines[kind].post("/vertex", {"instances": instances})
    assert (answer.status, answer.json["error"]) == (status, error)


@pytest.mark.parametrize(
    ("value", "what"),
    [("null", "null"), ("5", "integer `5`"), ('"a"', 'string "a"'), ("{}", "map"), ("true", "boolean `true`")],
)
def test_instances_that_are_no_list_are_refused(engines, value, what):
    body = f'{{"instances":{value}}}'.encode()
    answer = engines["embedder"].request("POST", "/vertex", body, "application/json")
    assert answer.status == 422
    assert f"instances: invalid type: {what}, expected a sequence at line 1 column " in answer.text


def test_instances_of_very_many_items_are_read_as_well(engines):
    refused = engines["embedder"].post("/vertex", {"instances": [{"inputs": [[5]] * 20_001}]})
    assert (refused.status, refused.json["error"]) == (422, "batch size 20001 > maximum allowed batch size 128")
    ranked = engines["reranker"].post("/vertex", {"instances": [{"query": "a", "texts": ["b"] * 20_001}]})
    assert (ranked.status, ranked.json["error"]) == (422, "batch size 20001 > maximum allowed batch size 128")


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_browser_may_read_that_a_body_is_too_large(folder, framing):
    settings = EngineSettings(model=str(folder / "embedder"), payload_limit_bytes=100)
    with serving(settings) as client:
        connection = HTTPConnection("127.0.0.1", client.port, timeout=60)
        body = b"a" * 101 if framing == "length" else iter([b"a" * 60, b"a" * 60])
        connection.request(
            "POST", "/embed", body, {"content-type": "application/json"}, encode_chunked=framing == "chunks"
        )
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (413, b"Failed to buffer the request body: length limit exceeded")
        assert ANY_ORIGIN.items() <= {name.lower(): value for name, value in answer.getheaders()}.items()
        connection.close()


def test_fields_that_a_route_does_not_have_are_not_looked_at(engines):
    ask_all = {"inputs": "red", "normalize": "no", "dimensions": -1}
    assert engines["embedder"].post("/embed_all", ask_all).status == 200
    assert engines["splade"].post("/embed_sparse", ask_all).status == 200
    assert engines["embedder"].post("/embed", ask_all).status == 422


def test_the_routes_are_described(engines):
    page = engines["embedder"].get("/docs/")
    described = engines["embedder"].get("/api-doc/openapi.json").json
    assert page.headers["content-type"] == "text/html"
    assert engines["embedder"].get("/docs").headers["location"] == "/docs/"
    for path in {*POSTED, "/info", "/health", "/metrics"} - {"/encode", "/embeddings", "/invocations"}:
        assert path in described["paths"]
        assert f"{path}</code>" in page.text
    schema = described["paths"]["/rerank"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["query", "texts"]


@pytest.mark.parametrize(
    ("verb", "flags", "variable", "statuses"),
    [
        ("engine", ("--api-key", "s3cret"), "", [401, 200]),
        ("engine", (), "EMBEDFLEET_ENGINE_API_KEY", [401, 200]),
        (
            "engine",
            ("--parent-pid", str(os.getpid())),
            "EMBEDFLEET_ENGINE_API_KEY",
            [200, 200],
        ),  # a fleet's engine ignores the variable
        ("tei", ("--api-key", "s3cret"), "", [401, 200]),
        ("tei", (), "API_KEY", [401, 200]),
    ],
)
def test_the_key_is_a_flag_or_a_variable(folder, monkeypatch, verb, flags, variable, statuses):
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "embedfleet", verb, "--port", str(port), *flags]
    command += ["--model" if verb == "engine" else "--model-id", str(folder / "embedder")]
    if variable:
        monkeypatch.setenv(variable, "s3cret")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}")
            client = Client(port)
            found = [ask(client, "POST", "/embed", RED, content_type="application/json", **key)[0] for key in KEYS]
            assert found == statuses
        finally:
            process.kill()


KEYS = ({}, {"authorization": "Bearer s3cret"})
