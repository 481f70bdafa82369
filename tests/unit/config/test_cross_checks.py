"""What only shows when values are seen together: names, ports, prompts, servers."""

import pytest

from embedfleet.config.load import load
from embedfleet.errors import SettingsError


def faults(tmp_path, text: str = "", flags: dict[str, str] | None = None) -> dict[str, str]:
    file = tmp_path / "fleet.toml"
    file.write_text(text)
    try:
        load(file, {}, flags or {})
    except SettingsError as error:
        return {fault.key: fault.message for fault in error.faults}
    return {}


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[services.bge-embedder]\nport = 1", "bge-embedder", "both services.embedder and services.bge-embedder"),
        (
            '[services.a]\nport = 1\nupstream = "x"\n[services.b]\nport = 2\nupstream = "x"',
            "b",
            "x-0 would name a replica of both services.a and services.b",
        ),
        ('[services.reranker]\nupstream = "bge-embedder-tei"', "reranker", "bge-embedder-tei-0 would name"),
        ('[services.reranker]\nupstream = "BGE-Embedder-TEI"', "reranker", "bge-embedder-tei-0 would name"),
        ('[services.a]\nport = 1\nupstream = "embedder"', "a", "embedder-0 would name a replica of both"),
        (
            '[services.a]\nport = 1\nupstream = "reranker"\nreplicas = ["http://h:1"]',
            "a",
            "reranker-0 would name a replica of both services.reranker",
        ),
        (
            '[services.bge-embedder-tei]\nport = 1\ndriver = "process"',
            "bge-embedder-tei",
            "bge-embedder-tei-0 would name",
        ),
    ],
)
def test_two_services_of_whose_replicas_two_would_have_one_name_are_named(tmp_path, text, key, words):
    found = faults(tmp_path, text)
    assert list(found) == [f"services.{key}.upstream"]
    assert words in found[f"services.{key}.upstream"]


@pytest.mark.parametrize(
    "text",
    [
        '[services.bge-embedder]\nport = 1\nupstream = "other"',
        "[services.bge-embedder]\nport = 1\n[services.embedder]\nenabled = false",
        '[services.bge-embedder]\nport = 1\ndriver = "process"',
        '[services.a]\nport = 1\nupstream = "embedder"\n[services.embedder]\ndriver = "docker"',
        "[services.embedder-0]\nport = 1\n[services.embedder-gateway]\nport = 2",
    ],
)
def test_services_whose_names_stay_apart_are_sound(tmp_path, text):
    assert faults(tmp_path, text) == {}


@pytest.mark.parametrize("name", ["a b", "-a", "a/b", "x;}", "ä", "a" * 62, "a\\n"])
def test_a_name_that_containers_and_nginx_cannot_have_is_refused(tmp_path, name):
    found = faults(tmp_path, f'[services.embedder]\nupstream = "{name}"\n')
    assert "is not a valid container name" in found["services.embedder.upstream"]


@pytest.mark.parametrize("service", ["embedder", "reranker", "code"])
def test_two_default_prompts_are_refused_by_both_names(tmp_path, service):
    text = f'[services.{service}]\nport = 7\ndefault_prompt = "- x"\n'
    assert faults(tmp_path, text) == {}
    message = faults(tmp_path, text, {f"{service}.default_prompt_name": "query"})[f"services.{service}.default_prompt"]
    assert f"services.{service}.default_prompt_name" in message


@pytest.mark.parametrize("second", ["http://h:1", "http://h:1/", "http://H:1"])
def test_a_server_that_is_named_twice_is_no_second_replica(tmp_path, second):
    assert faults(tmp_path, f'[services.embedder]\nreplicas = ["http://h:1", "{second}"]\n') == {
        "services.embedder.replicas": f"{second!r} is listed twice"
    }
    assert faults(tmp_path, '[services.embedder]\nreplicas = ["http://h:1", "http://h:2"]\n') == {}


def test_a_cache_of_the_gateway_needs_a_gateway_and_one_that_is_kept_a_size(tmp_path):
    asked = '[services.embedder]\ngateway_cache_mb = 64\nbalancer = "nginx"\n'
    key = "services.embedder.gateway_cache_mb"
    assert faults(tmp_path, asked) == {key: "is set, but nginx keeps no answers"}
    kept = faults(tmp_path, "[services.embedder]\ngateway_cache_keep = true\n")
    assert kept == {key: "is 0, so there is nothing that gateway_cache_keep could keep"}
    assert not faults(tmp_path, "[services.embedder]\ngateway_cache_mb = 64\ngateway_cache_keep = true\n")
