"""What is asked, and what is expected of the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from embedfleet.http.client import Reply

Kind = Literal["embedding", "reranker", "classifier", "splade"]
JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself.

    Attributes:
        kind: of its model.
        is_gateway: whether it is ours in front of replicas, which takes batches of any size and more.
        batch: ``max_client_batch_size``.
        length: ``max_input_length``, in tokens.
        dimensions: of its vectors; 0 where it has none.
        labels: how many classes it tells.
        is_cross_encoder: whether it classifies texts as well; our late interaction ranks, and does not.
    """

    kind: Kind
    is_gateway: bool = False
    batch: int = 32
    length: int = 512
    dimensions: int = 0
    labels: int = 1
    is_cross_encoder: bool = True


Check = Callable[[Reply, Facts], str]
"""What is wrong with a reply, in words; empty if nothing is."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request and what TEI answers.

    Attributes:
        name: unique.
        method: HTTP method.
        path: with its query.
        body: as sent; anything but bytes is sent as JSON.
        content_type: None to send none.
        status: of the answer.
        checks: what else has to hold.
        differs: why our gateway rightly answers otherwise; empty if it must not.
        is_loose: whether the words are not TEI's own but its framework's.
    """

    name: str
    method: str
    path: str
    body: object = b""
    content_type: str | None = JSON_TYPE
    status: int = 200
    checks: Sequence[Check] = ()
    differs: str = ""
    is_loose: bool = False

    @property
    def data(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)

    def faults(self, reply: Reply, facts: Facts) -> list[str]:
        """All that is wrong with a reply."""
        if reply.status != self.status:
            return [f"status {reply.status}, expected {self.status}"]
        return [fault for check in self.checks if (fault := check(reply, facts))]


def post(name: str, path: str, body: object, *checks: Check, status: int = 200, **other: Any) -> Case:  # noqa: ANN401 - of `Case`
    """A POST of JSON."""
    return Case(name, "POST", path, body, status=status, checks=checks, **other)
