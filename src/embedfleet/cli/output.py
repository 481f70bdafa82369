"""Output of the verbs: data for programs on stdout, messages for people on stderr."""

import sys
from typing import NoReturn

import click

from embedfleet.errors import EmbedfleetError


def data(text: str) -> None:
    """Print a line of data on stdout."""
    click.echo(text)


def say(text: str) -> None:
    """Print a message on stderr."""
    click.echo(text, err=True)


def die(error: EmbedfleetError) -> NoReturn:
    """Print an error with its hint, and exit with its code."""
    message = getattr(error, "message", str(error))
    hint = getattr(error, "hint", "")
    fail(message, hint, getattr(error, "exit_code", 1))


def fail(message: str, hint: str, code: int) -> NoReturn:
    """Print an error message with a hint, and exit with a code."""
    say(f"error: {message}")
    if hint:
        say(f"\nhint: {hint}")
    sys.exit(code)
