"""Limits of a replica, read from its ``/info``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_INFO_NAMES = {
    "batch_tokens": "max_batch_tokens",
    "batch_texts": "max_client_batch_size",
    "permits": "max_concurrent_requests",
    "input_tokens": "max_input_length",
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Limits of a replica.

    Attributes:
        batch_tokens: ``max_batch_tokens``.
        batch_texts: ``max_client_batch_size``, the most texts of one request.
        permits: ``max_concurrent_requests``, the most texts in progress at once.
        input_tokens: ``max_input_length``; a longer text is truncated or refused.
        body_bytes: Largest body of a request; ``/info`` does not state it.
    """

    batch_tokens: int = 16_384
    batch_texts: int = 32
    permits: int = 512
    input_tokens: int = 8192
    body_bytes: int = 1_500_000

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "Capabilities":
        """Read the limits from TEI's ``/info``; a missing or invalid field gets TEI's default."""
        stated = {name: info.get(key) for name, key in _INFO_NAMES.items()}
        read = cls(**{name: value for name, value in stated.items() if type(value) is int and value > 0})
        # TEI refuses a request with more texts than it has permits, even when it is idle.
        return replace(read, batch_texts=min(read.batch_texts, read.permits))
