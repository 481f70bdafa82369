"""Separation of the environment variables that are settings from those that Kubernetes sets with our prefix."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

PREFIX = "EMBEDFLEET_"
CONFIG = "EMBEDFLEET_CONFIG"
"""Variable with the path of the settings file; it is not an option."""

# Variables that Kubernetes sets in every pod for a service of the namespace (kubernetes.io, "Accessing the Service").
_OF_A_SERVICE = re.compile(
    r"(?P<service>.+?)_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Variables:
    """The environment variables with our prefix, sorted by kind.

    Attributes:
        texts: Text of each variable that sets an option, by name.
        services: Names of variables that Kubernetes sets for a service; they set no option.
        stray: Names of unknown variables.
    """

    texts: dict[str, str]
    services: tuple[str, ...]
    stray: tuple[str, ...]


def sort_variables(env: Mapping[str, str], known: Collection[str]) -> Variables:
    """Separate the variables that set an option from the others.

    For a Kubernetes service named `embedfleet-embedder`, Kubernetes sets variables with the names of our settings. They
    are recognised by the address among them, ``EMBEDFLEET_EMBEDDER_PORT=tcp://…``; all variables of that service are
    ignored.

    Args:
        env: The whole environment.
        known: Names of the variables that set an option.
    """
    addresses = {name for name, text in env.items() if name.endswith("_PORT") and _ADDRESS.fullmatch(text)}
    texts: dict[str, str] = {}
    services: list[str] = []
    stray: list[str] = []
    for name, text in env.items():
        if not name.startswith(PREFIX) or name == CONFIG:
            continue
        if _belongs_to(name, addresses) or (name not in known and _is_of_a_service(name, text)):
            services.append(name)
        elif name in known:
            texts[name] = text
        else:
            stray.append(name)
    return Variables(texts, tuple(services), tuple(stray))


def notes(variables: Variables, known: Collection[str]) -> tuple[str, ...]:
    """Write the lines for the user about variables that set no option: one for Kubernetes, one per unknown variable."""
    found = []
    if variables.services:
        names = ", ".join(variables.services[:3]) + (", …" if len(variables.services) > 3 else "")
        count = len(variables.services)
        what = (
            "1 variable of a Kubernetes service is" if count == 1 else f"{count} variables of Kubernetes services are"
        )
        found.append(f"{what} ignored: {names}")
    for name in variables.stray:
        close = difflib.get_close_matches(name, known, n=1)
        found.append(f"warning: {name} sets nothing: {f'did you mean {close[0]}?' if close else 'unset it'}")
    return tuple(found)


def variable(key: str) -> str:
    """Return the variable of a dotted key, such as ``EMBEDFLEET_EMBEDDER_PORT`` for ``embedder.port``.

    Variables of fleet options contain no section: ``EMBEDFLEET_LOG_LEVEL`` for ``fleet.log_level``.
    """
    return PREFIX + key.removeprefix("fleet.").upper().replace(".", "_").replace("-", "_")


def _is_of_a_service(name: str, text: str) -> bool:
    """Whether a variable looks like one that Kubernetes sets; one that ends in just ``_PORT`` must hold an address."""
    found = _OF_A_SERVICE.fullmatch(name)
    return found is not None and (name != f"{found['service']}_PORT" or _ADDRESS.fullmatch(text) is not None)


def _belongs_to(name: str, addresses: Collection[str]) -> bool:
    """Whether a variable belongs to a Kubernetes service whose address is set too."""
    found = _OF_A_SERVICE.fullmatch(name)
    return found is not None and f"{found['service']}_PORT" in addresses
