"""Data goes to stdout, messages to stderr, and an error ends the program with its hint and its code."""

import pytest

from embedfleet.cli.output import data, die, fail, say
from embedfleet.errors import EmbedfleetError, FleetError, ModelError, UsageError


def test_a_program_that_reads_stdout_gets_data_alone(capsys):
    data("a\tb")
    say("reading")
    out, err = capsys.readouterr()
    assert (out, err) == ("a\tb\n", "reading\n")


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (UsageError("no model", "name one"), "error: no model\n\nhint: name one\n"),
        (UsageError("no model"), "error: no model\n"),
        (FleetError("it is gone", "start it"), "error: it is gone\n\nhint: start it\n"),
        (ModelError("config.json is missing", "copy it"), "error: config.json is missing\n\nhint: copy it\n"),
        (EmbedfleetError("something else"), "error: something else\n"),
    ],
)
def test_an_error_is_printed_with_its_hint_and_code(capsys, error, printed):
    with pytest.raises(SystemExit) as ended:
        die(error)
    assert ended.value.code == getattr(error, "exit_code", 1) != 0
    assert capsys.readouterr() == ("", printed)


def test_a_mistake_of_the_user_has_a_code_of_its_own():
    assert UsageError("m").exit_code == 2


def test_a_code_may_be_chosen(capsys):
    with pytest.raises(SystemExit) as ended:
        fail("m", "", 7)
    assert ended.value.code == 7
    assert capsys.readouterr().err == "error: m\n"
