"""Flags over environment over file over defaults; every value knows where it came from; all faults come at once."""

import pytest

from embedfleet.config.load import find_file, load
from embedfleet.errors import SettingsError


def faults(file=None, env=None, flags=None) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(file, env or {}, flags or {})
    return {fault.key: f"{fault.message} ({fault.hint})" for fault in caught.value.faults}


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        file = tmp_path / "fleet.toml"
        file.write_text(text)
        return file

    return write


def test_the_defaults_serve_without_a_file():
    settings = load(None, {}, {})
    assert [(s.name, s.options.port, s.engine.model, s.engine.task) for s in settings.services] == [
        ("embedder", 8001, "auto", "auto"),
        ("reranker", 8002, "auto", "rerank"),
    ]
    assert set(settings.origins.values()) == {"default"}


def test_a_model_that_lies_where_people_keep_it_is_served(write):
    file = write("")
    (file.parent / "models" / "bge-reranker-v2-m3").mkdir(parents=True)
    settings = load(file, {}, {})
    assert [service.engine.model for service in settings.services] == ["auto", "models/bge-reranker-v2-m3"]
    assert settings.origins["reranker.model"] == "found"
    (chosen,) = (s for s in load(file, {"EMBEDFLEET_RERANKER_MODEL": "builtin"}, {}).services if s.name == "reranker")
    assert chosen.engine.model == "builtin"


def test_a_flag_beats_a_variable_beats_the_file_and_each_value_knows_its_origin(write):
    file = write(
        '[fleet]\nlog_level = "error"\nlog_format = "json"\n[services.embedder]\nport = 1\nhost = "a"\nreplicas = 3'
    )
    env = {
        "EMBEDFLEET_LOG_LEVEL": "debug",
        "EMBEDFLEET_EMBEDDER_PORT": "2",
        "EMBEDFLEET_EMBEDDER_HOST": "b",
        "HOME": "/",
    }
    settings = load(file, env, {"embedder.port": "3", "fleet.state_dir": "s"})
    embedder = settings.services[0].options
    assert (embedder.port, embedder.host, embedder.replicas) == (3, "b", 3)
    assert (settings.fleet.log_level, settings.fleet.log_format) == ("debug", "json")
    assert settings.origins["embedder.port"] == "flag --set embedder.port"
    assert settings.origins["fleet.state_dir"] == "flag --state-dir"
    assert settings.origins["embedder.host"] == "environment EMBEDFLEET_EMBEDDER_HOST"
    assert settings.origins["embedder.replicas"] == "fleet.toml services.embedder.replicas"
    assert settings.origins["fleet.log_format"] == "fleet.toml fleet.log_format"
    assert settings.origins["reranker.port"] == "default"


def test_relative_folders_count_from_the_file_and_not_from_here(write, tmp_path):
    (tmp_path / "bge").mkdir()
    settings = load(write('[services.embedder]\nmodel = "bge"'), {}, {})
    assert settings.root == tmp_path
    assert settings.state_dir == tmp_path / ".embedfleet"


def test_a_file_may_name_further_services_and_put_the_usual_ones_out(write):
    settings = load(write("[services.code-search]\nport = 9001\n[services.reranker]\nenabled = false"), {}, {})
    assert [service.name for service in settings.services] == ["embedder", "code-search"]
    assert load(write("[services.code-search]\nport = 9001"), {"EMBEDFLEET_CODE_SEARCH_PORT": "9002"}, {}).services[
        2
    ].options.port == (9002)


def test_every_fault_is_in_one_message_with_its_key_its_value_and_a_hint(write):
    file = write(
        'services.embedder = {port = 99999, replicas = "two", model = "models/none"}\n'
        'services.reranker = {port = 99999, driver = "swarm", replicas = ["tcp://x"], no_replica_s = nan}\n'
        "services.Big = {port = 1}\nservices.fleet = {port = 2}\nservices.other = {}\nservices.odd = 5\n"
        'flet = {}\nfleet = {log_levl = "x", log_level = "loud"}\n'
    )
    found = faults(file, {"EMBEDFLEET_STOP_GRACE_S": "-1"}, {"fleet.drain_s": "long"})
    assert found["services.embedder.port"].startswith("99999 is above 65535")
    assert found["services.embedder.replicas"].startswith("'two' is not a whole number")
    assert found["services.embedder.model"].startswith("there is no folder models/none (give a folder")
    assert found["services.reranker.driver"].startswith('\'swarm\' is not "auto" or "process" or "docker"')
    assert found["services.reranker.replicas"] == "'tcp://x' is not the URL of a server (write http://host:port)"
    assert found["services.reranker.no_replica_s"].startswith("nan is not a number")
    assert "lower-case letters" in found["services.Big"]
    assert "lower-case letters" in found["services.fleet"]
    assert found["services.other.port"] == "is not set (every service needs a port)"
    assert found["services.odd"] == "5 is not a table (write [services.odd])"
    assert found["flet"] == "is not known (did you mean fleet?)"
    assert found["fleet.log_levl"] == "is not known (did you mean fleet.log_level?)"
    assert found["fleet.log_level"].startswith("'loud' is not \"debug\"")
    assert found["environment EMBEDFLEET_STOP_GRACE_S"].startswith("-1.0 is below 0")
    assert found["flag --drain-s"].startswith("'long' is not a number")
    assert found["services.reranker.port"].startswith("99999 is above 65535")
    assert len(found) == 16


def test_two_services_on_one_port_are_named():
    assert faults(flags={"reranker.port": "8001"}) == {
        "services.reranker.port": "8001 is already the port of services.embedder (give each service its own)"
    }


def test_a_flag_of_an_unknown_service_is_refused():
    assert faults(flags={"embeder.port": "1"}) == {"flag --set embeder.port": "is not known (did you mean embedder?)"}


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("port", "write SERVICE.OPTION or fleet.OPTION, such as embedder.port"),
        ("search.port", "there is no service search: name it in fleet.toml first, as [services.search]"),
    ],
)
def test_the_hint_for_an_unknown_flag_tells_how_to_write_it(key, hint):
    assert faults(flags={key: "1"}) == {f"flag --set {key}": f"is not known ({hint})"}


def test_a_fleet_without_any_service_is_refused():
    assert "services" in faults(flags={"embedder.enabled": "false", "reranker.enabled": "no"})


@pytest.mark.parametrize(("content", "words"), [(b"[fleet\n", "is not TOML"), (b"\xff", "is not TOML")])
def test_a_file_that_is_not_toml_is_named(tmp_path, content, words):
    file = tmp_path / "fleet.toml"
    file.write_bytes(content)
    assert words in faults(file)[str(file)]


def test_a_file_that_was_asked_for_and_is_not_there_is_named(tmp_path):
    assert "cannot be read: No such file" in faults(tmp_path / "other.toml")[str(tmp_path / "other.toml")]


def test_the_file_is_the_one_given_else_the_variables_else_the_one_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_file({}) is None
    (tmp_path / "fleet.toml").touch()
    assert str(find_file({})) == "fleet.toml"
    assert str(find_file({"EMBEDFLEET_CONFIG": "a.toml"})) == "a.toml"
    assert str(find_file({"EMBEDFLEET_CONFIG": "a.toml"}, "b.toml")) == "b.toml"


@pytest.mark.parametrize("model", ["builtin", "BAAI/bge-m3"])
def test_a_built_in_model_and_a_hub_id_need_no_folder(model):
    assert load(None, {}, {"embedder.model": model}).services[0].engine.model == model


@pytest.mark.parametrize("model", ["models/bge-m3", "./a/b", "~/nothing-here", "bge-m3"])
def test_what_can_only_be_meant_as_a_folder_must_be_one(model):
    assert f"there is no folder {model}" in faults(flags={"embedder.model": model})["services.embedder.model"]


@pytest.mark.parametrize("url", ["http://h:99999", "http://[::1", "http://h/path", "http://h?a=b", "h:1", "http://a b"])
def test_a_replicas_url_that_is_none_is_a_fault_and_no_traceback(write, url):
    found = faults(write(f"services.reranker = {{replicas = ['{url}']}}\n"))
    assert found["services.reranker.replicas"] == f"{url!r} is not the URL of a server (write http://host:port)"
