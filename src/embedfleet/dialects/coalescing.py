"""Coalescing of requests for one vector each into one request for several vectors."""

from collections.abc import Sequence
from typing import Final

import orjson

from embedfleet.dialects.json_body import is_json, repeats_a_key
from embedfleet.dialects.routes import ROUTES
from embedfleet.dialects.splitting.list_reply import VECTORS
from embedfleet.dialects.splitting.texts import Inputs

_OPERATION: Final = "embed"
_PATHS: Final = frozenset(route.path for route in ROUTES if route.can_coalesce)
_INPUTS: Final = b'"inputs"'
_ESCAPE: Final = b"\\u00"  # the key may be there a second time, with a letter written so


def can_coalesce(path: str, content_type: bytes | None) -> bool:
    """Whether a POST with this head may have a body that `read_single` can read."""
    return path in _PATHS and is_json(content_type)


def read_single(body: bytes) -> tuple[str, bytes] | None:
    """Read the text of a ``POST /embed`` that asks for one vector, and the other fields.

    OpenAI's route is excluded, because its replies give only the total tokens of all texts and not each client's count.

    Returns:
        The text, and the other fields as bytes; requests with equal bytes may be sent as one (`write_batch`). None if
        the request asks for anything else, has another shape, or could not be written again unchanged.
    """
    try:
        fields = orjson.loads(body)
        if type(fields) is not dict or type(text := fields.pop("inputs", None)) is not str:
            return None
        if not fields and body.count(_INPUTS) == 1 and body.find(_ESCAPE) < 0:
            return text, b""
        if repeats_a_key(body, ("inputs", *fields)):
            return None
        return text, orjson.dumps(fields, option=orjson.OPT_SORT_KEYS) if fields else b""
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def write_batch(texts: list[str], others: bytes) -> bytes:
    """Write one body for the texts of several requests that share the other fields, as `read_single` returned them."""
    fields = orjson.loads(others) if others else {}
    fields["inputs"] = texts
    return orjson.dumps(fields)


def frame_of(others: bytes) -> bytes:
    """Write all that decides the answer besides the text, equal to `Texts.frame`."""
    return Inputs(_OPERATION, orjson.loads(others) if others else {}, [], VECTORS, "inputs").frame()


def fingerprints(texts: list[str], others: bytes) -> list[int]:
    """Make the fingerprint of each request's text, equal to that of `Texts.fingerprints`."""
    fields = orjson.loads(others) if others else {}
    return Inputs(_OPERATION, fields, list(texts), VECTORS, "inputs").fingerprints()


def split_vectors(count: int, reply: bytes) -> Sequence[bytes | memoryview]:
    """Split a reply into the vectors of ``count`` texts, as bytes; in brackets, each is one request's reply.

    Raises:
        Malformed: The number of vectors differs, or a number is null or NaN.
    """
    return VECTORS.split(count, reply)
