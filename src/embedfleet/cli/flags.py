"""Command-line flags made from the options' one definition."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from embedfleet.config.load import find_file, load
from embedfleet.config.option import Option, options_of
from embedfleet.config.settings import FleetOptions, Settings

Command = TypeVar("Command", bound=Callable[..., Any])
Record = TypeVar("Record")


class OptionType(click.ParamType[Any]):
    """A flag's text, parsed and checked by its option."""

    def __init__(self, option: Option) -> None:
        self.name = "|".join(option.choices) if option.choices and len(option.types) == 1 else option.types[0].__name__
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """The value, or click's usage error with what is wrong with it."""
        parsed = self._option.parse(value) if isinstance(value, str) else value
        if problem := self._option.check(parsed):
            self.fail(problem, param, ctx)
        return parsed


def record_flags(record: type) -> Callable[[Command], Command]:
    """A decorator that adds a flag for every option of a settings record, with its default."""

    def add(command: Command) -> Command:
        for option in reversed(options_of(record).values()):
            flag = click.option(
                option.flag, type=OptionType(option), default=option.default, show_default=True, help=option.help
            )
            command = flag(command)
        return command

    return add


def take_record(record: type[Record], values: dict[str, Any]) -> Record:
    """The settings record made of a command's flags, which are taken out of ``values``."""
    return record(**{name: values.pop(name) for name in options_of(record)})


def settings_flags(command: Command) -> Command:
    """A decorator for verbs that read the settings of a fleet: they get them as ``settings``."""
    for option in reversed(options_of(FleetOptions).values()):
        if option.types == (bool,):
            command = click.option(option.flag, option.name, flag_value="true", help=option.help)(command)
            continue
        text = f"{option.help}  [{option.default}]"
        command = click.option(option.flag, option.name, metavar="TEXT", help=text)(command)
    command = click.option(
        "--set", "pairs", multiple=True, metavar="SERVICE.OPTION=VALUE", help="an option of a service; may be repeated"
    )(command)
    return click.option("--config", "file", metavar="FILE", help="instead of ./fleet.toml  [EMBEDFLEET_CONFIG]")(
        command
    )


def read_settings(values: dict[str, Any]) -> Settings:
    """The settings that the flags of `settings_flags` lead to.

    Raises:
        SettingsError: with every fault.
    """
    flags: dict[str, str] = {}
    for pair in values["pairs"]:
        key, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} has no value; write SERVICE.OPTION=VALUE", param_hint="--set")
        flags[key.removeprefix("services.")] = text
    for name in options_of(FleetOptions):
        if values.get(name) is not None:
            flags[f"fleet.{name}"] = values[name]
    file = find_file(os.environ, values["file"])
    return load(Path(file) if file else None, os.environ, flags)
