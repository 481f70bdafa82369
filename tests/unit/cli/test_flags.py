"""Flags that are made of options: an empty text sets nothing, and what was given can be given to another process."""

import click
import pytest

from embedfleet.cli.flags import given_flags, settings_flags
from embedfleet.cli.verbs.engine import command as engine
from embedfleet.cli.verbs.gateway import command as gateway


@click.command()
@settings_flags
def verb(**flags: str) -> None:
    """Takes the flags of a fleet's settings."""


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (engine, "--pooling"),
        (engine, "--model"),
        (engine, "--batch-tokens"),
        (gateway, "--split"),
        (gateway, "--hedge"),
    ],
)
def test_an_empty_flag_is_as_good_as_none(command, flag):
    usual = command.make_context("verb", []).params
    for arguments in ([f"{flag}="], [flag, ""]):
        assert command.make_context("verb", arguments).params == usual


def test_what_may_be_empty_is_emptied():
    assert engine.make_context("engine", ["--packed-dir="]).params["packed_dir"] == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--pull", "--log-level=debug"],
        ["--set", "embedder.default_prompt=- x", "--set=reranker.port=1"],
        ["--state-dir", "-d", "--network=--detach", "--tei-image", ""],
        ["--config", "/a b/fleet.toml", "--stop-grace-s", "1"],
    ],
)
def test_what_was_given_is_given_on_as_it_was(arguments):
    before = verb.make_context("verb", list(arguments)).params
    given = given_flags(before)
    assert verb.make_context("verb", list(given)).params == before
    assert all(word.startswith("--") for word in given)
