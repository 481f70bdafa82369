"""Who the replicas are to be: what a gateway is told over its admin socket, and finds in a file when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from embedfleet.types import Endpoint


@dataclass(frozen=True, slots=True)
class Membership:
    """See the module.

    Attributes:
        endpoints: of all replicas.
        drained: by name, whether it is to get nothing; of a replica that is not named, it stays as it is.
    """

    endpoints: tuple[Endpoint, ...]
    drained: Mapping[str, bool]

    @classmethod
    def of(cls, body: bytes) -> "Membership":
        """From a JSON list of ``{"id", "url"}``, with ``"drained"`` where something is said of that.

        Raises:
            ValueError: it is none.
        """
        rows = orjson.loads(body)
        if not isinstance(rows, list):
            raise ValueError(f"not a list of objects with id and url: {rows!r}")  # noqa: TRY004 - the type of the text
        try:
            endpoints = tuple(Endpoint(str(row["id"]), str(row["url"])) for row in rows)
            drained = {str(row["id"]): bool(row["drained"]) for row in rows if "drained" in row}
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a list of objects with id and url: {error!r}") from error
        return cls(endpoints, drained)
