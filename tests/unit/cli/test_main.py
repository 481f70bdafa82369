"""The command line as a person and as a program meet it: what goes where, and with which exit code."""

import json
import subprocess
import sys

import pytest

from embedfleet import __version__
from embedfleet.cli.main import VERBS
from tests.services.fleet import run_cli
from tests.services.kubernetes import of_service

HEAVY = {"numpy", "onnx", "onnxruntime", "tokenizers", "torch", "huggingface_hub"}


def loaded_by(code: str) -> set[str]:
    """The packages that some code imports."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    names = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    return {name.partition(".")[0] for name in names}


def test_help_comes_without_loading_any_verb():
    assert not loaded_by("import embedfleet.cli.main") & {*HEAVY, "rich", "uvloop", "asyncio"}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_loads_what_is_heavy_before_it_runs(verb):
    """`up` stays small because it never loads what its children do."""
    assert not loaded_by(f"import embedfleet.cli.verbs.{verb}") & HEAVY


def test_help_names_every_verb_and_every_exit_code(tmp_path):
    result = run_cli(tmp_path, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for verb, summary in VERBS.items():
        assert verb in result.stdout
        assert summary in result.stdout
    for code in ("0  done", "1  failure", "2  invalid configuration", "3  no fleet"):
        assert code in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, tmp_path):
    result = run_cli(tmp_path, verb, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"Usage: embedfleet {verb} ")
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_data(tmp_path):
    result = run_cli(tmp_path, "--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["nope"], "No such command 'nope'.", "see `embedfleet --help`"),
        (["up", "--bogus"], "No such option '--bogus'.", "see `embedfleet up --help`"),
        (["up", "--set", "x"], "'x' has no value", "see `embedfleet up --help`"),
        (["up", "--gpu", "K80"], "unknown GPU type K80", "T4, "),
        (["up", "--gpu", "H100"], "the settings ask for H100, but no NVIDIA driver shows a GPU", "serve from the CPU"),
        (["up", "--ready-timeout-s", "soon"], "flag --ready-timeout-s: 'soon' is not a number", ""),
        (["up", "--set", "embedder.model=models/none"], "there is no folder models/none", ""),
        (["engine", "--port", "x"], "'x' is not a valid integer", "see `embedfleet engine --help`"),
        (["engine", "--pooling", "sum"], "'sum' is not", "see `embedfleet engine --help`"),
        (["engine", "--model", "models/none"], "there is no model folder models/none", "give a folder"),
        (["gateway", "--replica", "ftp://x"], "ftp://x is not the URL of a replica", "write http://host:port"),
        (["gateway", "--port", "99999"], "99999 is not in the range 0<=x<=65535", "see `embedfleet gateway --help`"),
        (["engine", "--port", "-1"], "-1 is not in the range", "see `embedfleet engine --help`"),
        (["tei", "--model-id=builtin", "--port=65536"], "65536 is not in the range", "see `embedfleet tei --help`"),
        (
            ["engine", "--default-prompt=- a", "--default-prompt-name=b"],
            "default_prompt is set, and",
            "set one of them",
        ),
        (["gateway", "--replica", "http://[::1"], "http://[::1 is not the URL of a replica", "write http://host:port"),
        (["gateway", "--max-connections", "9" * 400], "is above 9007199254740992", "see `embedfleet gateway --help`"),
        (["up", "--set", f"embedder.port={'9' * 5000}"], "is not a whole number, 1 to 65535", ""),
        (
            ["gateway", "--replica", "http://h:1", "--host", "192.0.2.1"],
            "cannot listen: 192.0.2.1:0: ",
            "choose another --port",
        ),
        (["gateway", "--drain-s", "nan"], "nan", "see `embedfleet gateway --help`"),
        (["gateway", "--drain-s", "inf"], "inf", "see `embedfleet gateway --help`"),
        (["engine", "--stop-grace-s", "-1"], "-1", "see `embedfleet engine --help`"),
        (["gateway", "--payload-limit-bytes", "0"], "0 is", "see `embedfleet gateway --help`"),
        (["tei"], "Missing option '--model-id'", "see `embedfleet tei --help`"),
        (["logs"], "there are no logs of any process", "there are logs of: none"),
        (["config", "--config", "none.toml"], "none.toml: cannot be read", "name a file that exists"),
    ],
)
def test_what_cannot_work_is_an_error_and_a_hint_on_stderr_and_exit_code_2(tmp_path, arguments, message, hint):
    result = run_cli(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0].startswith("error: ")
    assert message in result.stderr
    assert f"\n\nhint: {hint}" in result.stderr if hint.startswith("see") else hint in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was made"


def test_status_without_a_fleet_says_so_in_words_in_json_and_by_its_code(tmp_path):
    words, program = run_cli(tmp_path, "status"), run_cli(tmp_path, "status", "--json")
    assert (words.returncode, words.stdout, program.returncode) == (3, "", 3)
    assert "no fleet runs in" in words.stderr
    assert "hint: ask in the folder of `up`, or name its --state-dir" in words.stderr
    assert json.loads(program.stdout) == {"running": False, "services": []}


def test_down_without_a_fleet_has_nothing_to_do(tmp_path):
    result = run_cli(tmp_path, "down")
    assert (result.returncode, result.stdout) == (0, "")
    assert "no fleet runs in" in result.stderr


def test_config_shows_values_and_origins_to_people_and_to_programs(tmp_path):
    (tmp_path / "fleet.toml").write_text("[services.embedder]\nport = 9001\ndefault_prompt = '[query] :smile: '\n")
    table = run_cli(tmp_path, "config", "--log-level", "debug", env={"EMBEDFLEET_EMBEDDER_HOST": "127.0.0.1"})
    assert table.returncode == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in table.stdout.splitlines()}
    assert rows["services.embedder.port"] == "9001 fleet.toml services.embedder.port"
    assert rows["services.embedder.host"] == '"127.0.0.1" environment EMBEDFLEET_EMBEDDER_HOST'
    assert rows["fleet.log_level"] == '"debug" flag --log-level'
    assert rows["services.reranker.port"] == "8002 default"
    assert '"[query] :smile: "' in table.stdout
    assert "\x1b" not in table.stdout
    program = run_cli(tmp_path, "config", "--json")
    assert json.loads(program.stdout)["services.embedder.port"] == {
        "value": 9001,
        "origin": "fleet.toml services.embedder.port",
    }


def test_config_check_takes_the_settings_on_either_side(tmp_path):
    sound = run_cli(tmp_path, "config", "check")
    assert (sound.returncode, sound.stdout) == (0, "")
    assert "embedder, reranker" in sound.stderr
    (tmp_path / "bad.toml").write_text("[services.embedder]\nport = 0\n")
    for arguments in (["--config", "bad.toml", "check"], ["check", "--config", "bad.toml"]):
        result = run_cli(tmp_path, "config", *arguments)
        assert (result.returncode, "services.embedder.port: 0 is below 1" in result.stderr) == (2, True)
    both = run_cli(tmp_path, "config", "--set", "embedder.port=7000", "check", "--set", "reranker.port=7000")
    assert "7000 is already the port of services.embedder" in both.stderr


@pytest.mark.parametrize(
    ("arguments", "file", "env", "code"),
    [
        ([], "", {}, 0),
        ([], '[fleet]\ngpu = "CPU"\nown_image = "docker:latest"\n', {}, 0),
        (["--gpu", "CPU"], "# docker, container, gpu\n", {}, 0),
        (["--set", "embedder.driver=docker"], "", {}, 10),
        ([], '[services.reranker]\ndriver = "docker"\n', {}, 10),
        ([], "", {"EMBEDFLEET_RERANKER_DRIVER": "docker"}, 10),
        (["--set", "embedder.balancer_in=container"], "", {}, 10),
        ([], "[services.code]\nport = 1\nbalancer_in = 'container'\nreplicas = ['http://h:1']\n", {}, 10),
        (["--set", "embedder.driver=swarm"], "", {}, 2),
    ],
)
def test_run_sh_is_told_by_the_settings_whether_it_takes_containers(tmp_path, arguments, file, env, code):
    (tmp_path / "fleet.toml").write_text(file)
    assert run_cli(tmp_path, "up", "--needs-docker", *arguments, env=env).returncode == code
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.toml"], "nothing is started"


def test_the_environment_is_spoken_of_on_stderr_alone(tmp_path):
    env = of_service("EMBEDFLEET") | {"EMBEDFLEET_EMBEDDER_PROT": "1", "EMBEDFLEET_EMBEDDER_MODEL": ""}
    shown = run_cli(tmp_path, "config", "--json", env=env)
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["services.embedder.model"] == {"value": "auto", "origin": "default"}
    assert [line.partition(":")[0] for line in shown.stderr.splitlines()] == [
        *("8 variables of Kubernetes services are ignored", "warning")
    ]
    assert run_cli(tmp_path, "status", env=env).stderr.startswith("no fleet runs in")
