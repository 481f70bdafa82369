"""Command-line flags, made from the definitions of the options."""

import inspect
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import click

from embedfleet.cli.output import say
from embedfleet.config.cross_checks import is_missing_folder
from embedfleet.config.load import find_file, load, load_valid
from embedfleet.config.option import Option, options_of
from embedfleet.config.settings import FleetOptions, ServiceOptions, Settings
from embedfleet.errors import SettingsError

Command = TypeVar("Command", bound=Callable[..., Any])
Record = TypeVar("Record")
PORT = click.IntRange(0, 65_535)
"""Type of a flag that takes a port; 0 is any free port."""

FIND_FLEET = ("state_dir", "docker_host")
"""Names of the fleet options that locate a running fleet."""

_MORE_FLAGS = (
    "The other flags of `embedfleet up` are accepted too, so that both verbs can be called with the same flags."
)


class OptionType(click.ParamType[Any]):
    """The type of a flag for an option: parses and checks the flag's text."""

    def __init__(self, option: Option) -> None:
        self.name = "|".join(option.choices) if option.choices and len(option.types) == 1 else option.types[0].__name__
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Parse a flag's text; raise click's usage error if the value is invalid."""
        if isinstance(value, str) and self._option.is_unset(value):
            return self._option.default
        parsed = self._option.parse(value) if isinstance(value, str) else value
        if problem := self._option.check(parsed):
            self.fail(problem, param, ctx)
        return parsed


SECONDS = OptionType(options_of(FleetOptions)["stop_grace_s"])
"""Type of a flag that takes a time in seconds, at least 0."""
BYTES = OptionType(options_of(ServiceOptions)["payload_limit_bytes"])
"""Type of a flag that takes a size in bytes, at least 1."""


def record_flags(record: type) -> Callable[[Command], Command]:
    """Make a decorator that adds a flag with a default for every option of a settings record."""

    def add(command: Command) -> Command:
        for option in reversed(options_of(record).values()):
            flag = click.option(
                option.flag,
                type=OptionType(option),
                metavar=None if option.types == (bool,) else _metavar(option),
                default=option.default,
                show_default=True,
                help=option.help,
            )
            command = flag(command)
        return command

    return add


def take_record(record: type[Record], values: dict[str, Any]) -> Record:
    """Make a settings record from a command's flags, and remove these from ``values``."""
    return record(**{name: values.pop(name) for name in options_of(record)})


def settings_flags(command: Command) -> Command:
    """Add the flags of all settings to a verb that starts a fleet or examines its settings."""
    return _add_settings(command, shown=tuple(options_of(FleetOptions)), shows_services=True)


def fleet_flags(*shown: str, takes_all: bool = True) -> Callable[[Command], Command]:
    """Make a decorator for verbs about a running fleet: help shows only the flags that concern the verb.

    Args:
        shown: Names of the fleet options that help shows.
        takes_all: Whether help says that the verb accepts the other flags of `up` too.
    """

    def add(command: Command) -> Command:
        command = _add_settings(command, shown=shown, shows_services=False)
        if takes_all:
            command.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n{_MORE_FLAGS}"
        return command

    return add


def _add_settings(command: Command, *, shown: Collection[str], shows_services: bool) -> Command:
    for option in reversed(options_of(FleetOptions).values()):
        is_hidden = option.name not in shown
        if option.types == (bool,):
            flag = click.option(option.flag, option.name, flag_value="true", hidden=is_hidden, help=option.help)
        else:
            text = f"{option.help}  [{'empty' if option.default == '' else option.default}]"
            flag = click.option(option.flag, option.name, metavar=_metavar(option), hidden=is_hidden, help=text)
        command = flag(command)
    command = click.option(
        "--set",
        "pairs",
        multiple=True,
        metavar="SERVICE.OPTION=VALUE",
        hidden=not shows_services,
        help="set an option of a service; may be repeated",
    )(command)
    return click.option(
        "--config", "file", metavar="FILE", help="settings file  [EMBEDFLEET_CONFIG, else ./fleet.toml]"
    )(command)


def _metavar(option: Option) -> str:
    """Make the placeholder of a flag's value in the help text."""
    if option.choices and set(option.types) == {str}:
        return "|".join(option.choices)
    return "NUMBER" if {int, float} & set(option.types) else "TEXT"


def read_settings(values: dict[str, Any]) -> Settings:
    """Load the settings from flags, environment and file, and print remarks about the environment.

    Raises:
        SettingsError: Some settings are invalid; the error lists all faults.
    """
    flags = _texts(values)
    settings = load(find_file(os.environ, values["file"]), os.environ, flags)
    for note in settings.notes:
        say(note)
    return settings


def read_settings_for_doctor(values: dict[str, Any]) -> Settings:
    """Load the settings; a missing model folder is no error here, because the doctor reports it as a finding.

    Raises:
        SettingsError: Some settings are invalid for another reason.
    """
    settings, faults = load_valid(find_file(os.environ, values["file"]), os.environ, _texts(values))
    if any(not is_missing_folder(fault) for fault in faults):
        raise SettingsError(faults)
    for note in settings.notes:
        say(note)
    return settings


def read_sound_settings(values: dict[str, Any]) -> Settings:
    """Load the valid settings and warn about invalid ones, so that a running fleet is found despite them."""
    flags = _texts(values)
    settings, faults = load_valid(find_file(os.environ, values["file"]), os.environ, flags)
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        say(f"warning: ignored in the settings: {faults[0].key}: {faults[0].message}{more} (`embedfleet config check`)")
        say(f"looking in {settings.state_dir}")
    return settings


def given_flags(values: dict[str, Any]) -> tuple[str, ...]:
    """Return the settings flags of this call, for another process that may start in another folder."""
    found = [f"--set={pair}" for pair in values["pairs"]]
    if values["file"]:
        found.append(f"--config={Path(values['file']).absolute()}")
    for name, option in options_of(FleetOptions).items():
        if values.get(name) is not None:
            found.append(option.flag if option.types == (bool,) else f"{option.flag}={values[name]}")
    return tuple(found)


def _texts(values: dict[str, Any]) -> dict[str, str]:
    """Map the dotted key of every given flag to its text."""
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
