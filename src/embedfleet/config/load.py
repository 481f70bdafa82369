"""Loading of the settings from flags, environment and fleet.toml, in that order of precedence."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from embedfleet.config.cross_checks import check_services
from embedfleet.config.environment import CONFIG, notes, sort_variables, variable
from embedfleet.config.file import parse, read_bytes, salvage
from embedfleet.config.model_name import AUTO, is_folder, usual_folder
from embedfleet.config.option import Option, options_of, show
from embedfleet.config.settings import (
    DEFAULT_SERVICES,
    SERVICE_RECORDS,
    EngineOptions,
    FleetOptions,
    GatewayOptions,
    Service,
    ServiceOptions,
    Settings,
)
from embedfleet.errors import Fault, SettingsError

FILE = "fleet.toml"
# A service named `fleet` would collide with the section of that name in keys and variables.
_SERVICE_NAME = re.compile(r"(?!fleet$)[a-z][a-z0-9-]{0,30}")

Record = TypeVar("Record")


def find_file(env: Mapping[str, str], given: str | None = None) -> Path | None:
    """Find the settings file: the given file, that of ``EMBEDFLEET_CONFIG``, or fleet.toml in the working directory.

    The file may be unreadable. The result is None if there is no file.
    """
    name = given or env.get(CONFIG)
    if name:
        return Path(name)
    return Path(FILE) if os.path.lexists(FILE) else None


def load(file: Path | None, env: Mapping[str, str], flags: Mapping[str, str]) -> Settings:
    """Load and check all settings.

    Args:
        file: Path of a fleet.toml; None for no file.
        env: The whole environment.
        flags: Text of each flag by dotted key, such as ``fleet.log_level`` or ``embedder.port``.

    Raises:
        SettingsError: Some settings are invalid; the error lists all faults.
    """
    settings, faults = load_valid(file, env, flags)
    if faults:
        raise SettingsError(faults)
    return settings


def load_valid(file: Path | None, env: Mapping[str, str], flags: Mapping[str, str]) -> tuple[Settings, Sequence[Fault]]:
    """Load all valid settings, and return the faults of the others.

    Raises:
        SettingsError: The working directory does not exist, so relative paths have no meaning.
    """
    reading = _Reading(root=_folder_of(file))
    if file:
        content, faults = read_bytes(file)
        table, more = parse(content, str(file))
        reading.faults += (*faults, *more)
        reading.take_table(salvage(content) if more else table)
    known = reading.variables()
    variables = sort_variables(env, known)
    reading.take_variables(variables.texts, known)
    reading.take_texts(dict(flags), _flag)
    return replace(reading.finish(), notes=notes(variables, known)), reading.faults


def _folder_of(file: Path | None) -> Path:
    try:
        return Path(os.path.realpath(file.parent if file else "."))
    except FileNotFoundError:
        fault = Fault("the working directory", "does not exist any more", "cd to a folder that exists")
        raise SettingsError([fault]) from None


class _Reading:
    """The values read so far, with their origins and faults."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fleet = options_of(FleetOptions)
        self.service: dict[str, Option] = {}
        for record in SERVICE_RECORDS:
            self.service |= options_of(record)
        self.names = list(DEFAULT_SERVICES)
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.faults: list[Fault] = []
        for name, own in DEFAULT_SERVICES.items():
            for key, value in own.items():
                self._put(f"{name}.{key}", value, "default")

    def variables(self) -> dict[str, list[str]]:
        """List the names of all variables that set an option, each with its possible dotted keys."""
        found: dict[str, list[str]] = {}
        keys = [f"fleet.{name}" for name in self.fleet]
        for key in (*keys, *(f"{service}.{name}" for service in self.names for name in self.service)):
            found.setdefault(variable(key), []).append(key)
        return found

    def take_table(self, table: dict[str, Any]) -> None:
        """Read the table of a settings file."""
        for key, value in table.items():
            if key not in {"fleet", "services"}:
                self._unknown(key, ["fleet", "services"])
            elif not isinstance(value, dict):
                self.fault(key, f"{show(value)} is not a table", f"write [{key}]")
        self._take_section("fleet", table.get("fleet"), self.fleet)
        services = table.get("services")
        for name, section in services.items() if isinstance(services, dict) else ():
            if not isinstance(section, dict):
                self.fault(f"services.{name}", f"{show(section)} is not a table", f"write [services.{name}]")
            elif not _SERVICE_NAME.fullmatch(name):
                self.fault(
                    f"services.{name}",
                    "is not a valid name of a service",
                    "use lower-case letters, digits and dashes; `fleet` is taken",
                )
            else:
                if name not in self.names:
                    self.names.append(name)
                self._take_section(name, section, self.service)

    def take_variables(self, texts: Mapping[str, str], known: Mapping[str, Sequence[str]]) -> None:
        """Read variables, by name; report those that could set two options.

        With a service named ``tei``, ``EMBEDFLEET_TEI_IMAGE`` could set its image or the option ``tei_image``.
        """
        for name, text in texts.items():
            if len(known[name]) > 1 and text:
                meant = " or ".join(map(self._shown, known[name]))
                self.fault(f"environment {name}", f"may mean {meant}", f"unset it, and set one of these in {FILE}")
            else:
                self.take_texts({known[name][0]: text}, lambda key: f"environment {variable(key)}")

    def take_texts(self, texts: Mapping[str, str], origin: Any) -> None:  # noqa: ANN401 - key → words
        """Read the texts of flags or variables, by dotted key."""
        for key, text in texts.items():
            option = self._option(key)
            if option is None:
                section = key.partition(".")[0]
                known = self.fleet if section == "fleet" else self.service
                where = [f"{section}.{name}" for name in known] if section in {"fleet", *self.names} else self.names
                self._unknown(key, where, shown=origin(key))
            elif not option.is_unset(text):
                self._take(key, option, option.parse(text), origin(key))

    def finish(self) -> Settings:
        """Make the settings, and complete the list of faults."""
        services = [service for service in map(self._service, self.names) if service.options.enabled]
        known = {fault.key for fault in self.faults}
        self.faults += [fault for fault in check_services(services, self.root) if fault.key not in known]
        return Settings(self.root, self._record("fleet", FleetOptions), tuple(services), self.origins)

    def fault(self, key: str, message: str, hint: str = "") -> None:
        """Add a fault."""
        self.faults.append(Fault(key if key.isprintable() else show(key), message, hint))

    def _take_section(self, section: str, values: object, known: Mapping[str, Option]) -> None:
        for name, value in values.items() if isinstance(values, dict) else ():
            key = f"{section}.{name}"
            if name not in known:
                self._unknown(self._shown(key), [self._shown(f"{section}.{option}") for option in known])
            else:
                self._take(key, known[name], value, f"{FILE} {self._shown(key)}")

    def _take(self, key: str, option: Option, value: object, origin: str) -> None:
        problem = option.check(value)
        if problem:
            shown = self._shown(key) if origin.startswith(FILE) else origin
            self.fault(shown, problem, option.help)
        else:
            self._put(key, _plain(option, value), origin)

    def _put(self, key: str, value: object, origin: str) -> None:
        self.values[key] = value
        self.origins[key] = origin

    def _option(self, key: str) -> Option | None:
        section, _, name = key.partition(".")
        if section == "fleet":
            return self.fleet.get(name)
        return self.service.get(name) if section in self.names else None

    def _shown(self, key: str) -> str:
        """Return a key as it is written in fleet.toml."""
        return key if key.startswith("fleet.") else f"services.{key}"

    def _unknown(self, key: str, known: Iterable[str], shown: str = "") -> None:
        section, dot, _ = key.partition(".")
        hint = "see docs/reference/settings.md"
        if close := difflib.get_close_matches(key, list(known), n=1):
            hint = f"did you mean {close[0]}?"
        elif not dot and shown:
            hint = "write SERVICE.OPTION or fleet.OPTION, such as embedder.port"
        elif shown and section not in {"fleet", *self.names}:
            hint = f"there is no service {section}: name it in {FILE} first, as [services.{section}]"
        self.fault(shown or key, "is not known", hint)

    def _service(self, name: str) -> Service:
        engine = self._record(name, EngineOptions)
        folder = usual_folder(engine.task)
        if engine.model == AUTO and is_folder(self.root / folder):
            engine = replace(engine, model=folder)
            self.origins[f"{name}.model"] = "found"
        return Service(name, self._record(name, ServiceOptions), engine, self._record(name, GatewayOptions))

    def _record(self, section: str, record: type[Record]) -> Record:
        values: dict[str, Any] = {}
        for name, option in options_of(record).items():
            key = f"{section}.{name}"
            values[name] = self.values.get(key, option.default)
            self.origins.setdefault(key, "default")
        return record(**values)


def _plain(option: Option, value: Any) -> Any:  # noqa: ANN401 - checked by the option
    """Convert a file's value to the type of the settings' records."""
    if option.types == (float,):
        return float(value)
    return tuple(value) if isinstance(value, list) else value


def _flag(key: str) -> str:
    """Return the flag of a key: ``--log-level`` for ``fleet.log_level``, ``--set NAME.port`` for ``NAME.port``."""
    section, _, name = key.partition(".")
    return f"flag --{name.replace('_', '-')}" if section == "fleet" else f"flag --set {key}"
