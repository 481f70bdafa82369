"""Settings from flags, environment and fleet.toml, in that order of precedence; all faults at once."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from embedfleet.config.model_name import AUTO, model_folder, usual_folder
from embedfleet.config.option import Option, options_of
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
from embedfleet.types import URL_HINT, url_fault

FILE = "fleet.toml"
PREFIX = "EMBEDFLEET_"
# Variables of ours that are no options.
_OTHER_VARIABLES = frozenset({"EMBEDFLEET_CONFIG"})
# `fleet` would be confused with the section of that name, in keys and in variables.
_SERVICE_NAME = re.compile(r"(?!fleet$)[a-z][a-z0-9-]{0,30}")

Record = TypeVar("Record")


def find_file(env: Mapping[str, str], given: str | None = None) -> Path | None:
    """The settings file: as given, as ``EMBEDFLEET_CONFIG`` says, or fleet.toml here if there is one."""
    name = given or env.get("EMBEDFLEET_CONFIG")
    if name:
        return Path(name)
    return Path(FILE) if Path(FILE).is_file() else None


def load(file: Path | None, env: Mapping[str, str], flags: Mapping[str, str]) -> Settings:
    """Read and check everything.

    Args:
        file: a fleet.toml, or None for none.
        env: the environment.
        flags: dotted key → text, as ``fleet.log_level`` or ``embedder.port``.

    Raises:
        SettingsError: with every fault that was found.
    """
    reading = _Reading(root=(file.parent if file else Path()).resolve())
    table = reading.read_file(file) if file else {}
    reading.take_table(table)
    reading.take_texts(_from_env(env, reading), lambda key: f"environment {_variable(key)}")
    reading.take_texts(dict(flags), _flag)
    return reading.finish()


class _Reading:
    """Values found so far, with their origins and faults."""

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

    def read_file(self, file: Path) -> dict[str, Any]:
        try:
            return tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            self.fault(str(file), f"cannot be read: {error.strerror}")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self.fault(str(file), f"is not TOML: {error}")
        return {}

    def take_table(self, table: dict[str, Any]) -> None:
        """The content of a file."""
        for key, value in table.items():
            if key not in {"fleet", "services"}:
                self._unknown(key, ["fleet", "services"])
            elif not isinstance(value, dict):
                self.fault(key, f"{value!r} is not a table", f"write [{key}]")
        self._take_section("fleet", table.get("fleet"), self.fleet)
        services = table.get("services")
        for name, section in services.items() if isinstance(services, dict) else ():
            if not isinstance(section, dict):
                self.fault(f"services.{name}", f"{section!r} is not a table", f"write [services.{name}]")
            elif not _SERVICE_NAME.fullmatch(name):
                self.fault(
                    f"services.{name}", "is no name for a service", "lower-case letters, digits and dashes; not fleet"
                )
            else:
                if name not in self.names:
                    self.names.append(name)
                self._take_section(name, section, self.service)

    def take_texts(self, texts: Mapping[str, str], origin: Any) -> None:  # noqa: ANN401 - key → words
        """Values of flags or variables."""
        for key, text in texts.items():
            option = self._option(key)
            if option is None:
                section = key.partition(".")[0]
                known = self.fleet if section == "fleet" else self.service
                where = [f"{section}.{name}" for name in known] if section in {"fleet", *self.names} else self.names
                self._unknown(key, where, shown=origin(key))
            else:
                self._take(key, option, option.parse(text), origin(key))

    def finish(self) -> Settings:
        """The settings, if nothing was wrong.

        Raises:
            SettingsError: with every fault.
        """
        services = [service for service in map(self._service, self.names) if service.options.enabled]
        self._check_services(services)
        fleet = self._record("fleet", FleetOptions)
        if self.faults:
            raise SettingsError(self.faults)
        return Settings(self.root, fleet, tuple(services), self.origins)

    def fault(self, key: str, message: str, hint: str = "") -> None:
        """Note one."""
        self.faults.append(Fault(key, message, hint))

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
        """The key as fleet.toml spells it."""
        return key if key.startswith("fleet.") else f"services.{key}"

    def _unknown(self, key: str, known: Iterable[str], shown: str = "") -> None:
        close = difflib.get_close_matches(key, list(known), n=1)
        self.fault(
            shown or key, "is not known", f"did you mean {close[0]}?" if close else "see docs/reference/settings.md"
        )

    def _service(self, name: str) -> Service:
        engine = self._record(name, EngineOptions)
        folder = usual_folder(engine.task)
        if engine.model == AUTO and (self.root / folder).is_dir():
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

    def _check_services(self, services: list[Service]) -> None:
        """What only shows when values are seen together."""
        ports: dict[int, str] = {}
        for service in services:
            key, port = f"services.{service.name}.port", service.options.port
            if port == 0 and not any(fault.key == key for fault in self.faults):
                self.fault(key, "is not set", "every service needs a port")
            elif port and port in ports:
                self.fault(key, f"{port} is the port of {ports[port]} already", "give each service its own")
            ports.setdefault(port, f"services.{service.name}")
            self._check_model(service)
            self._check_replicas(service)
        if not services:
            self.fault("services", "every service is off", "enable one")

    def _check_model(self, service: Service) -> None:
        key, model = f"services.{service.name}.model", service.engine.model
        folder = model_folder(model, self.root)
        if folder is not None and not folder.is_dir():
            self.fault(key, f"there is no folder {model}", "give a folder, a hub id (organisation/name) or builtin")

    def _check_replicas(self, service: Service) -> None:
        urls = service.options.replicas
        for url in urls if isinstance(urls, tuple) else ():
            if url_fault(url) or urlsplit(url).path.strip("/"):
                self.fault(f"services.{service.name}.replicas", f"{url!r} is no server's URL", URL_HINT)


def _plain(option: Option, value: Any) -> Any:  # noqa: ANN401 - checked by the option
    """A file's value as the settings' records hold it."""
    if option.types == (float,):
        return float(value)
    return tuple(value) if isinstance(value, list) else value


def _from_env(env: Mapping[str, str], reading: _Reading) -> dict[str, str]:
    """Dotted key → text of every variable with our prefix."""
    found: dict[str, str] = {}
    by_variable = {_variable(f"fleet.{name}"): f"fleet.{name}" for name in reading.fleet}
    for service in reading.names:
        by_variable |= {_variable(f"{service}.{name}"): f"{service}.{name}" for name in reading.service}
    for name, text in env.items():
        if not name.startswith(PREFIX) or name in _OTHER_VARIABLES:
            continue
        if name in by_variable:
            found[by_variable[name]] = text
        else:
            close = difflib.get_close_matches(name, list(by_variable), n=1)
            reading.fault(f"environment {name}", "is not known", f"did you mean {close[0]}?" if close else "unset it")
    return found


def _flag(key: str) -> str:
    """``fleet.log_level`` → ``flag --log-level``; ``embedder.port`` → ``flag --set embedder.port``."""
    section, _, name = key.partition(".")
    return f"flag --{name.replace('_', '-')}" if section == "fleet" else f"flag --set {key}"


def _variable(key: str) -> str:
    """``embedder.port`` → ``EMBEDFLEET_EMBEDDER_PORT``; ``fleet.log_level`` → ``EMBEDFLEET_LOG_LEVEL``."""
    return PREFIX + key.removeprefix("fleet.").upper().replace(".", "_").replace("-", "_")
