"""Command-line flags made from the options' one definition."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from embedfleet.cli.output import say
from embedfleet.config.agreement import is_missing_folder
from embedfleet.config.load import find_file, load, load_what_is_sound
from embedfleet.config.option import Option, options_of
from embedfleet.config.settings import FleetOptions, Settings
from embedfleet.errors import SettingsError

Command = TypeVar("Command", bound=Callable[..., Any])
Record = TypeVar("Record")
PORT = click.IntRange(0, 65_535)
"""What a port may be; 0 is any free one."""


class OptionType(click.ParamType[Any]):
    """A flag's text, parsed and checked by its option."""

    def __init__(self, option: Option) -> None:
        self.name = "|".join(option.choices) if option.choices and len(option.types) == 1 else option.types[0].__name__
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """The value, or click's usage error with what is wrong with it."""
        if isinstance(value, str) and self._option.is_unset(value):
            return self._option.default
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
    """The settings that the flags of `settings_flags` lead to; what is odd about the environment is said.

    Raises:
        SettingsError: with every fault.
    """
    flags = _texts(values)
    settings = load(find_file(os.environ, values["file"]), os.environ, flags)
    for note in settings.notes:
        say(note)
    return settings


def read_settings_for_doctor(values: dict[str, Any]) -> Settings:
    """As `read_settings`, but a model's folder that is not there is left to the doctor, as one finding of many.

    Raises:
        SettingsError: with every other fault.
    """
    settings, faults = load_what_is_sound(find_file(os.environ, values["file"]), os.environ, _texts(values))
    if any(not is_missing_folder(fault) for fault in faults):
        raise SettingsError(faults)
    for note in settings.notes:
        say(note)
    return settings


def read_sound_settings(values: dict[str, Any]) -> Settings:
    """As `read_settings`, for verbs about a fleet that runs: it can be found, whatever the settings say now."""
    flags = _texts(values)
    settings, faults = load_what_is_sound(find_file(os.environ, values["file"]), os.environ, flags)
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        say(
            f"warning: left out of the settings: {faults[0].key}: {faults[0].message}{more} (`embedfleet config check`)"
        )
        say(f"looking in {settings.state_dir}")
    return settings


def given_flags(values: dict[str, Any]) -> tuple[str, ...]:
    """The flags of `settings_flags` that were given, to be given to another process that may start elsewhere."""
    found = [f"--set={pair}" for pair in values["pairs"]]
    if values["file"]:
        found.append(f"--config={Path(values['file']).absolute()}")
    for name, option in options_of(FleetOptions).items():
        if values.get(name) is not None:
            found.append(option.flag if option.types == (bool,) else f"{option.flag}={values[name]}")
    return tuple(found)


def _texts(values: dict[str, Any]) -> dict[str, str]:
    """Dotted key → text of every flag that was given."""
    flags: dict[str, str] = {}
    for pair in values["pairs"]:
        key, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} has no value; write SERVICE.OPTION=VALUE", param_hint="--set")
        flags[key.removeprefix("services.")] = text
    for name in options_of(FleetOptions):
        if values.get(name) is not None:
            flags[f"fleet.{name}"] = values[name]
    return flags
