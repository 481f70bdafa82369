"""Whatever a settings file is, its faults name it and say what to do; for a fleet that runs it says what it can."""

import os
from pathlib import Path

import pytest

from embedfleet.config.file import salvage
from embedfleet.config.load import find_file, load, load_valid
from embedfleet.errors import SettingsError

DEEP = 10_000
LONG = "9" * 5000


def faults(file, env=None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(file, env or {}, {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# \xe4\n[fleet]\n", "is not TOML: line 1 is not UTF-8 (save it as UTF-8)"),
        (b'[fleet]\ngpu = "T4"\n# \xff\n', "is not TOML: line 3 is not UTF-8 (save it as UTF-8)"),
        ('[fleet]\ngpu = "T4"'.encode("utf-16"), "is not TOML: line 1 is not UTF-8"),
        (b"[fleet]\n\0gpu = 1", "is not TOML: Invalid statement (at line 2, column 1) (put texts into double quotes"),
        (b"[fleet]\ngpu = T4", "is not TOML: Invalid value (at line 2, column 7) (put texts into double quotes"),
        (b"x = " + b"[" * DEEP + b"]" * DEEP, "has brackets nested too deep to be parsed"),
        (b"x = " + b"{a=" * DEEP + b"1" + b"}" * DEEP, "has brackets nested too deep to be parsed"),
        (f"[services.embedder]\nport = {LONG}".encode(), "has a number with too many digits"),
        (b"#" * 1_000_001, "has more than 1000000 bytes"),
    ],
)
def test_what_cannot_be_read_as_toml_is_named_with_its_line_and_a_hint(tmp_path, content, words):
    file = tmp_path / "fleet.toml"
    file.write_bytes(content)
    assert f"{file}: {words}" in faults(file)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("port = " + "9" * 400, "embedder.port: 9"),
        ("port = 0x" + "f" * 9000, "embedder.port: a value that is too long to show is above 65535"),
        ("max_queue_bytes = " + "9" * 400, "is above 9007199254740992"),
        ("online_queue_s = " + "9" * 400, "is above 1000000000"),
        ("online_queue_s = 1e300", "1e+300 is above 1000000000"),
        ("bulk_queue_s = -inf", "-inf is not a number"),
        ("port = 1979-05-27", "datetime.date(1979, 5, 27) is not a whole number"),
        ("host = 07:32:00", "datetime.time(7, 32) is not a text"),
        ("replicas = [0x" + "f" * 9000 + "]", "a value that is too long to show is not a whole number"),
        ("port" + ".a" * DEEP + " = 1", "a value that is too long to show is not a whole number"),
        ("host = '" + "x" * 10_000 + "\\n' \nport = ''", "'' is not a whole number"),
        ('model = "a\\u0000b"', "embedder.model: 'a\\x00b' has a null character"),
        ('replicas = ["http://a\\u0000b"]', "has a null character"),
        ('model = "~nobody-of-this-name/m"', "there is no folder ~nobody-of-this-name/m"),
        ('model = "' + "m/" * 5000 + '"', "there is no folder m/m/"),
        ('"a\\u001bb" = 1', "is not known"),
    ],
)
def test_a_value_of_whatever_kind_is_a_fault_of_its_key(tmp_path, line, words):
    file = tmp_path / "fleet.toml"
    file.write_text(f"[services.embedder]\n{line}\n")
    message = faults(file)
    assert words in message
    assert message.startswith("1 fault in the settings\n  ")
    assert "\x1b" not in message


def test_a_byte_order_mark_is_no_fault(tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_bytes(b'\xef\xbb\xbf[fleet]\r\nlog_level = "debug"\r\n')
    assert load(file, {}, {}).fleet.log_level == "debug"


def test_a_file_here_that_cannot_be_read_is_a_fault_and_not_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "fleet.toml"
    file.mkdir()
    assert "fleet.toml: cannot be read: Is a directory (name a file, such as fleet.toml/fleet.toml)" in faults(
        find_file({})
    )
    file.rmdir()
    file.symlink_to("nowhere")
    assert "fleet.toml: cannot be read: No such file" in faults(find_file({}))
    file.unlink()
    file.symlink_to("fleet.toml")
    assert "fleet.toml: cannot be read: Too many levels of symbolic links" in faults(find_file({}))


def test_a_folder_that_leads_to_itself_is_a_fault(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read: Too many levels" in faults(tmp_path / "loop" / "fleet.toml")


def test_a_working_directory_that_is_gone_is_a_fault(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the working directory: does not exist any more (cd to a folder that exists)" in faults(None)


def test_a_pipe_may_be_the_file():
    ours, theirs = os.pipe()
    os.write(theirs, b'[fleet]\nlog_level = "error"\n')
    os.close(theirs)
    assert load(Path(f"/dev/fd/{ours}"), {}, {}).fleet.log_level == "error"
    os.close(ours)


@pytest.mark.parametrize(
    "content",
    [
        b'[fleet]\nstate_dir = "here"\n[services.embedder]\nport = \n',
        b'\xef\xbb\xbf[ fleet ] # ours\nlog_level = loud\n  state_dir = "here" # and here\n\xff\n',
        b'fleet.state_dir = "here"\n[[[\n',
        b'fleet = {state_dir = "here"}\nx = ' + b"[" * DEEP,
        b'[fleet]\nstate_dir = "here"\nstate_dirr = ' + LONG.encode(),
        b'[services.embedder]\nport = "x"\n[fleet]\nstate_dir = "here"\nlog_level = 5\nnew = 1\n',
    ],
)
def test_where_a_fleet_runs_is_made_out_though_the_file_is_at_fault(tmp_path, content):
    file = tmp_path / "fleet.toml"
    file.write_bytes(content)
    settings, found = load_valid(file, {"EMBEDFLEET_EMBEDDER_PORT": "x"}, {})
    assert settings.state_dir == tmp_path / "here"
    assert len(found) > 1


@pytest.mark.parametrize(
    "content", [b"", b"[fleet\n", b"fleet = 5\n", b"[other]\nstate_dir = 'x'\n[", bytes(range(256))]
)
def test_of_what_says_nothing_nothing_is_made_out(content):
    assert salvage(content) == {"fleet": {}}
