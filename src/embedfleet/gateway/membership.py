"""The list of a gateway's replicas, as sent to its admin socket or read from a file at the start."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from embedfleet.types import URL_HINT, Endpoint, url_fault

_SHAPE: Final = 'expected a list like [{"id": "embedder-0", "url": "http://127.0.0.1:8080"}]'
_SHOWN: Final = 200  # characters of an invalid value


@dataclass(frozen=True, slots=True)
class Membership:
    """The desired replicas of a gateway.

    Attributes:
        endpoints: Endpoints of all replicas.
        drained: Whether to drain a replica, by name; replicas without an entry keep their state.
    """

    endpoints: tuple[Endpoint, ...]
    drained: Mapping[str, bool]

    @classmethod
    def of(cls, body: bytes) -> "Membership":
        """Read a JSON list of objects with ``"id"``, ``"url"`` and an optional ``"drained"``.

        Raises:
            ValueError: The body is not such a list, or a row is invalid.
        """
        rows = orjson.loads(body)
        if not isinstance(rows, list):
            raise ValueError(f"{_shown(rows)} is not a list; {_SHAPE}")  # noqa: TRY004 - the type of the text
        endpoints: dict[str, Endpoint] = {}
        drained: dict[str, bool] = {}
        for place, row in enumerate(rows):
            endpoint = _endpoint(f"row {place}", row)
            if endpoint.id in endpoints:
                raise ValueError(f"row {place}: id {_shown(endpoint.id)} occurs twice; each replica needs its own")
            endpoints[endpoint.id] = endpoint
            if "drained" in row:
                drained[endpoint.id] = _boolean(f"row {place}", row["drained"])
        return cls(tuple(endpoints.values()), drained)


def _endpoint(place: str, row: Any) -> Endpoint:  # noqa: ANN401 - whatever JSON holds
    """Return the endpoint of a row, or raise ValueError."""
    if not isinstance(row, dict):
        raise ValueError(f"{place}: {_shown(row)} is not an object; {_SHAPE}")  # noqa: TRY004 - the type of the text
    name, url = row.get("id"), row.get("url")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ValueError(f"{place}: id {_shown(name)} is not a name; a name is a string of printable characters")
    fault = url_fault(url) if isinstance(url, str) else "is not a string"
    if fault:
        raise ValueError(f"{place}: url {_shown(url)} {fault}; {URL_HINT}")
    return Endpoint(name, str(url))


def _boolean(place: str, value: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(value, bool):
        raise ValueError(f"{place}: drained {_shown(value)} is neither true nor false")  # noqa: TRY004 - the type of the text
    return value


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """Return a value as JSON for a message, so that it stays on one line."""
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # orjson reads nesting four times as deep as it writes
        return "something nested too deep"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
