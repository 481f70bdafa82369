"""Every word of a systemd unit reaches the program unchanged, whatever its characters."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.host.systemd import render_unit
from embedfleet.errors import UsageError

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
odd_words = st.text(st.sampled_from("a \"'\\%$;#=\n\té"), min_size=1, max_size=10)
any_words = words | odd_words


def unit(program=("/p",), folder="/f", arguments=(), environment=None, uuids=(), wait_s=120) -> str:
    return render_unit(
        program=program,
        folder=Path(folder),
        arguments=arguments,
        environment=environment or {},
        uuids=uuids,
        wait_s=wait_s,
    )


def lines(text: str, key: str) -> list[str]:
    return [line.removeprefix(f"{key}=") for line in text.split("\n") if line.startswith(f"{key}=")]


def unquoted(text: str) -> list[str]:
    """The words of a line as systemd reads them (systemd.syntax(7)): quotes, escapes, and % as %%."""
    found = []
    for word in re.findall(r'"((?:[^"\\]|\\.)*)"', text):
        escapes = rb'\\x([0-9a-f]{2})|\\(["\\])'
        raw = re.sub(
            escapes,
            lambda match: bytes([int(match[1], 16)]) if match[1] else match[2],
            word.encode("utf-8", "surrogateescape"),
        )
        assert "%" not in word.replace("%%", "")
        found.append(raw.decode().replace("%%", "%"))
    return found


@given(any_words, st.lists(any_words, max_size=4))
def test_the_commands_words_are_those_that_were_given(program, arguments):
    text = unit(program=("/usr/bin/p", program), arguments=arguments)
    (start,) = lines(text, "ExecStart")
    command, verb, flags = start.partition(" up")
    assert unquoted(command) == ["/usr/bin/p", program.replace("$", "$$")]
    assert verb
    assert [word.replace("$$", "$") for word in unquoted(flags)] == arguments


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), any_words, max_size=4))
def test_a_variable_has_its_value_and_a_dollar_is_not_doubled(environment):
    found = [unquoted(line) for line in lines(unit(environment=environment), "Environment")]
    assert found == [[f"{name}={value}"] for name, value in sorted(environment.items())]


@given(st.lists(any_words, max_size=4))
def test_reload_gets_the_flags_for_the_place_of_the_settings_and_no_others(arguments):
    given_ = [*arguments, "--config=/a b.toml", "--state-dir=/s"]
    (line,) = lines(unit(arguments=given_), "ExecReload")
    expected = [word for word in given_ if word.startswith(("--config=", "--state-dir="))]
    assert [word.replace("$$", "$") for word in unquoted(line.partition(" reload")[2])] == expected


def test_the_unit_waits_for_the_gpus_that_the_driver_showed():
    text = unit(uuids=["GPU-1", "GPU-2"], wait_s=90)
    assert lines(text, "ExecStartPre") == ['"/p" service wait --timeout-s 90 "--uuid=GPU-1" "--uuid=GPU-2"']
    assert lines(text, "TimeoutStartSec") == ["150"]


@given(st.from_regex(r"/[a-z%$\"' ]{0,12}[a-z%]", fullmatch=True))
def test_a_folder_is_named_on_a_line_without_quotes_and_on_one_with_them(folder):
    text = unit(folder=folder)
    path = str(Path(folder))
    assert lines(text, "WorkingDirectory") == [path.replace("%", "%%")]
    assert unquoted(lines(text, "RequiresMountsFor")[0]) == [path]


@pytest.mark.parametrize("folder", ["/a\nb", "/a ", "/a\\", "/a\x1b"])
def test_a_folder_that_a_unit_cannot_name_is_refused(folder):
    with pytest.raises(UsageError, match="a systemd unit cannot contain the path"):
        unit(folder=folder)
