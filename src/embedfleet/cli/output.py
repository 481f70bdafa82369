"""stdout is data, stderr is talk."""

import sys
from typing import NoReturn

import click

from embedfleet.errors import EmbedfleetError


def data(text: str) -> None:
    """A line that a program may read."""
    click.echo(text)


def say(text: str) -> None:
    """A line for the person."""
    click.echo(text, err=True)


def die(error: EmbedfleetError) -> NoReturn:
    """Say what is wrong and what to do, and end with the error's exit code."""
    message = getattr(error, "message", str(error))
    hint = getattr(error, "hint", "")
    fail(message, hint, getattr(error, "exit_code", 1))


def fail(message: str, hint: str, code: int) -> NoReturn:
    """As `die`, without an error of ours."""
    say(f"error: {message}")
    if hint:
        say(f"\nhint: {hint}")
    sys.exit(code)
