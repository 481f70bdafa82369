"""Checks of the settings together, for faults such as one port for two services."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from embedfleet.config.model_name import is_folder, model_folder
from embedfleet.config.settings import EngineOptions, Service
from embedfleet.errors import Fault
from embedfleet.types import URL_HINT, url_fault

# Containers are named after the upstream, with a number, and nginx's file contains it unquoted.
_UPSTREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
_NO_FOLDER = "there is no folder"


def check_services(services: Sequence[Service], root: Path) -> Iterator[Fault]:
    """Find the faults of the enabled services.

    Args:
        services: Enabled services, with values that are valid by themselves.
        root: Base folder of relative paths.
    """
    if not services:
        yield Fault("services", "every service is disabled", "enable one")
    yield from _check_ports(services)
    yield from _check_names(services)
    for service in services:
        yield from _check_model(service, root)
        yield from _check_replicas(service)
        yield from _check_cache(service)
        if problem := prompts_fault(service.engine):
            key = f"services.{service.name}.default_prompt"
            yield Fault(key, f"{problem} (services.{service.name}.default_prompt_name)", "set one of them")


def _check_cache(service: Service) -> Iterator[Fault]:
    key, options = f"services.{service.name}.gateway_cache_mb", service.gateway
    if options.gateway_cache_mb and service.options.balancer == "nginx":
        yield Fault(key, "is set, but nginx keeps no answers", 'set balancer to "gateway", or cache_mb for the engines')
    if options.gateway_cache_keep and not options.gateway_cache_mb:
        yield Fault(key, "is 0, so there is nothing that gateway_cache_keep could keep", "set a size in megabytes")


def prompts_fault(options: EngineOptions) -> str:
    """Describe a conflict between the default prompts; TEI does not start with both."""
    return "is set, and default_prompt_name too" if options.default_prompt and options.default_prompt_name else ""


def _check_ports(services: Sequence[Service]) -> Iterator[Fault]:
    ports: dict[int, str] = {}
    for service in services:
        key, port = f"services.{service.name}.port", service.options.port
        if port == 0:
            yield Fault(key, "is not set", "every service needs a port")
        elif port in ports:
            yield Fault(key, f"{port} is already the port of {ports[port]}", "give each service its own")
        ports.setdefault(port, f"services.{service.name}")


def _check_names(services: Sequence[Service]) -> Iterator[Fault]:
    """Find services whose replicas would share names, with any driver."""
    owners: dict[str, str] = {}
    for service in services:
        key = f"services.{service.name}.upstream"
        if not _UPSTREAM.fullmatch(service.upstream):
            hint = "use letters, digits, dots, dashes and underscores"
            yield Fault(key, f"{service.upstream!r} is not a valid container name", hint)
        names = _names_of_replicas(service)
        if taken := next((name for name in names if name in owners), ""):
            what = f"{taken}-0 would name a replica of both services.{owners[taken]} and services.{service.name}"
            yield Fault(key, what, f"set another services.{service.name}.upstream, or rename the service")
        owners |= {name: service.name for name in names if name not in owners}


def _names_of_replicas(service: Service) -> list[str]:
    """List the names that a service's replicas may have, without the number.

    A container's name is in lower case, because names on a network ignore case.
    """
    options = service.options
    names = []
    if options.driver != "docker" and not isinstance(options.replicas, tuple):
        names.append(service.name)
    if options.driver != "process" or isinstance(options.replicas, tuple):
        names.append(service.upstream.lower())
    return names


def is_missing_folder(fault: Fault) -> bool:
    """Whether a fault says that a model's folder does not exist."""
    return fault.key.endswith(".model") and fault.message.startswith(_NO_FOLDER)


def _check_model(service: Service, root: Path) -> Iterator[Fault]:
    key, model = f"services.{service.name}.model", service.engine.model
    folder = model_folder(model, root)
    if folder is not None and not is_folder(folder):
        yield Fault(key, f"{_NO_FOLDER} {model}", "give a folder, a hub id (organisation/name) or builtin")


def _check_replicas(service: Service) -> Iterator[Fault]:
    key, urls = f"services.{service.name}.replicas", service.options.replicas
    seen: set[str] = set()
    for url in urls if isinstance(urls, tuple) else ():
        if url_fault(url) or urlsplit(url).path.strip("/"):
            yield Fault(key, f"{url!r} is not the URL of a server", URL_HINT)
        elif url.rstrip("/").lower() in seen:
            yield Fault(key, f"{url!r} is listed twice", "list each server once")
        seen.add(url.rstrip("/").lower())
