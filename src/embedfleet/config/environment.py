"""The environment as settings: it is not ours alone."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

PREFIX = "EMBEDFLEET_"
CONFIG = "EMBEDFLEET_CONFIG"
"""Names the settings file, and is no option."""

# What Kubernetes sets in every pod for a service of the namespace (kubernetes.io, "Accessing the Service").
_OF_A_SERVICE = re.compile(
    r"(?P<service>.+?)_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Variables:
    """Variables with our prefix.

    Attributes:
        texts: name → text, of those that may set something.
        services: names of those that Kubernetes makes for a service; they mean nothing here.
        stray: names of those that nobody knows.
    """

    texts: dict[str, str]
    services: tuple[str, ...]
    stray: tuple[str, ...]


def sort_variables(env: Mapping[str, str], known: Collection[str]) -> Variables:
    """Tell the variables that set something from the others.

    A service of Kubernetes that is named `embedfleet-embedder` sets names that are ours as well. It is known by its
    address, ``EMBEDFLEET_EMBEDDER_PORT=tcp://…``, and then all that belongs to it is passed over.

    Args:
        env: the environment.
        known: names of the variables that may set something.
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
    """What the person should know of variables that set nothing, a line each."""
    found = []
    if variables.services:
        names = ", ".join(variables.services[:3]) + (", …" if len(variables.services) > 3 else "")
        count = len(variables.services)
        what = (
            "1 variable of a Kubernetes service is" if count == 1 else f"{count} variables of Kubernetes services are"
        )
        found.append(f"{what} passed over: {names}")
    for name in variables.stray:
        close = difflib.get_close_matches(name, known, n=1)
        found.append(f"warning: {name} sets nothing: {f'did you mean {close[0]}?' if close else 'unset it'}")
    return tuple(found)


def variable(key: str) -> str:
    """``embedder.port`` → ``EMBEDFLEET_EMBEDDER_PORT``; ``fleet.log_level`` → ``EMBEDFLEET_LOG_LEVEL``."""
    return PREFIX + key.removeprefix("fleet.").upper().replace(".", "_").replace("-", "_")


def _is_of_a_service(name: str, text: str) -> bool:
    """Whether Kubernetes made a variable: one that ends in no more than ``_PORT`` holds an address then."""
    found = _OF_A_SERVICE.fullmatch(name)
    return found is not None and (name != f"{found['service']}_PORT" or _ADDRESS.fullmatch(text) is not None)


def _belongs_to(name: str, addresses: Collection[str]) -> bool:
    """Whether a variable is of a service whose address is among the variables."""
    found = _OF_A_SERVICE.fullmatch(name)
    return found is not None and f"{found['service']}_PORT" in addresses
