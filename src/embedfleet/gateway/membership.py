"""The list of replicas that a gateway gets over its admin socket, and finds in a file when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from embedfleet.types import URL_HINT, Endpoint, url_fault

_SHAPE: Final = 'what is wanted is a list like [{"id": "embedder-0", "url": "http://127.0.0.1:8080"}]'
_SHOWN: Final = 200  # characters of an invalid value


@dataclass(frozen=True, slots=True)
class Membership:
    """The replicas that a gateway is to have.

    Attributes:
        endpoints: Endpoints of all replicas.
        drained: Whether a replica is to be drained, by name; unlisted replicas keep their state.
    """

    endpoints: tuple[Endpoint, ...]
    drained: Mapping[str, bool]

    @classmethod
    def of(cls, body: bytes) -> "Membership":
        """Read a JSON list of ``{"id", "url"}``, with an optional ``"drained"``.

        Raises:
            ValueError: It is no such list, or any row is invalid.
        """
        rows = orjson.loads(body)
        if not isinstance(rows, list):
            raise ValueError(f"{_shown(rows)} is no list; {_SHAPE}")  # noqa: TRY004 - the type of the text
        endpoints: dict[str, Endpoint] = {}
        drained: dict[str, bool] = {}
        for place, row in enumerate(rows):
            endpoint = _endpoint(f"row {place}", row)
            if endpoint.id in endpoints:
                raise ValueError(f"row {place}: id {_shown(endpoint.id)} is there twice; each replica has its own")
            endpoints[endpoint.id] = endpoint
            if "drained" in row:
                drained[endpoint.id] = _boolean(f"row {place}", row["drained"])
        return cls(tuple(endpoints.values()), drained)


def _endpoint(place: str, row: Any) -> Endpoint:  # noqa: ANN401 - whatever JSON holds
    """Return the endpoint of a row, or raise ValueError."""
    if not isinstance(row, dict):
        raise ValueError(f"{place}: {_shown(row)} is no object; {_SHAPE}")  # noqa: TRY004 - the type of the text
    name, url = row.get("id"), row.get("url")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ValueError(f"{place}: id {_shown(name)} is no name; it is a string of characters that can be printed")
    fault = url_fault(url) if isinstance(url, str) else "is no string"
    if fault:
        raise ValueError(f"{place}: url {_shown(url)} {fault}; {URL_HINT}")
    return Endpoint(name, str(url))


def _boolean(place: str, value: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(value, bool):
        raise ValueError(f"{place}: drained {_shown(value)} is neither true nor false")  # noqa: TRY004 - the type of the text
    return value


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """Return a value as JSON for a message, so that it adds no lines to the message."""
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # orjson reads four times as deep as it writes
        return "something nested too deep"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
