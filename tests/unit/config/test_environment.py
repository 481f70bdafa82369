"""The environment is not ours alone: what others set stops nothing, and an empty text sets nothing."""

import pytest

from embedfleet.config.load import load, load_valid
from embedfleet.errors import SettingsError
from tests.services.kubernetes import of_service


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("name", ["EMBEDFLEET", "EMBEDFLEET_EMBEDDER", "EMBEDFLEET_RERANKER", "EMBEDFLEET_A_PORT"])
def test_variables_of_a_kubernetes_service_are_passed_over_and_named_once(name, protocol):
    settings = load(None, of_service(name, protocol), {})
    assert set(settings.origins.values()) == {"default"}
    (note,) = settings.notes
    assert note.startswith(f"8 variables of Kubernetes services are ignored: {name}_SERVICE_HOST, ")


def test_a_service_of_that_name_here_is_set_by_its_variables_where_kubernetes_has_none(tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_text("[services.my-service]\n")
    env = {"EMBEDFLEET_MY_SERVICE_HOST": "127.0.0.1", "EMBEDFLEET_MY_SERVICE_PORT": "9000"}
    (mine,) = (service for service in load(file, env, {}).services if service.name == "my-service")
    assert (mine.options.host, mine.options.port) == ("127.0.0.1", 9000)
    settings, _ = load_valid(file, of_service("EMBEDFLEET_MY"), {})
    assert set(settings.origins.values()) == {"default"}, "it is Kubernetes' where its address is there as well"


def test_variables_of_other_names_are_nobodys_business():
    assert load(None, {"EMBEDFLEETX": "1", "MY_EMBEDFLEET_PORT": "x", "PORT": "tcp://1:2"}, {}).notes == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("EMBEDFLEET_EMBEDER_PORT", "did you mean EMBEDFLEET_EMBEDDER_PORT?"),
        ("EMBEDFLEET_EMBEDDER_PROT", "did you mean EMBEDFLEET_EMBEDDER_PORT?"),
        ("EMBEDFLEET_LOGLEVEL", "did you mean EMBEDFLEET_LOG_LEVEL?"),
        ("EMBEDFLEET_", "did you mean EMBEDFLEET_GPU?"),
        ("EMBEDFLEET_embedder_port", "unset it"),
    ],
)
def test_a_stray_name_under_our_prefix_is_a_warning(name, words):
    settings = load(None, {name: "1"}, {})
    assert settings.notes == (f"warning: {name} sets nothing: {words}",)


@pytest.mark.parametrize(
    "name",
    ["EMBEDDER_REPLICAS", "LOG_LEVEL", "EMBEDDER_MODEL", "EMBEDDER_HOST", "PULL", "DRAIN_S", "STATE_DIR", "TEI_IMAGE"],
)
def test_an_empty_value_of_what_cannot_be_empty_is_as_good_as_none(name, tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nlog_level = "debug"\n[services.embedder]\nreplicas = 3\n')
    with_it = load(file, {f"EMBEDFLEET_{name}": ""}, {})
    assert with_it == load(file, {}, {})
    key = name.lower().replace("embedder_", "embedder.")
    assert load(file, {}, {key if "." in key else f"fleet.{key}": ""}) == with_it, "and so with a flag"


def test_an_empty_value_of_what_may_be_empty_is_a_value(tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_text('[services.embedder]\ndefault_prompt = "query: "\npacked_dir = "p"\n')
    env = {"EMBEDFLEET_EMBEDDER_DEFAULT_PROMPT": "", "EMBEDFLEET_EMBEDDER_PACKED_DIR": ""}
    embedder = load(file, env, {}).services[0].engine
    assert (embedder.default_prompt, embedder.packed_dir) == ("", "")


@pytest.mark.parametrize("key", ["model", "host", "device"])
def test_in_a_file_an_empty_text_was_written_by_somebody_and_is_a_fault(key, tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_text(f'[services.embedder]\n{key} = ""\n')
    with pytest.raises(SettingsError, match=rf"services\.embedder\.{key}: is empty"):
        load(file, {}, {})


@pytest.mark.parametrize(
    ("service", "name", "meant"),
    [
        ("tei", "EMBEDFLEET_TEI_IMAGE", "fleet.tei_image or services.tei.image"),
        ("docker", "EMBEDFLEET_DOCKER_HOST", "fleet.docker_host or services.docker.host"),
        (
            "embedder-max",
            "EMBEDFLEET_EMBEDDER_MAX_BATCH_TOKENS",
            "services.embedder.max_batch_tokens or services.embedder-max.batch_tokens",
        ),
    ],
)
def test_a_variable_that_may_mean_two_options_is_refused_if_it_is_set(service, name, meant, tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_text(f"[services.{service}]\nport = 9000\n")
    assert load(file, {name: ""}, {}).notes == ()
    with pytest.raises(SettingsError, match=f"environment {name}: may mean {meant}"):
        load(file, {name: "7"}, {})


@pytest.mark.parametrize("text", ["\udcff", "a\udc80b"])
def test_bytes_that_are_no_text_are_refused(text):
    with pytest.raises(SettingsError, match="is not UTF-8"):
        load(None, {"EMBEDFLEET_EMBEDDER_SERVED_MODEL_NAME": text}, {})
