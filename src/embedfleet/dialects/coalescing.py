"""Requests for the vector of one text each, which the gateway may send to a replica together."""

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
    """Whether a POST with this head asks for vectors in the shape that `read_single` reads."""
    return path in _PATHS and is_json(content_type)


def read_single(body: bytes) -> tuple[str, bytes] | None:
    """Read the text of a ``POST /embed`` that asks for one vector, and the other fields.

    OpenAI's route is left out: its replies count the tokens of all texts together, so that no client's own count would
    be known.

    Returns:
        The text, and the other fields as bytes, which are equal for requests that may be sent as one, see
        `write_batch`. None if the request asks for anything else, is not of that shape, or cannot be written as it was
        read.
    """
    try:
        fields = orjson.loads(body)
        if type(fields) is not dict or type(text := fields.pop("inputs", None)) is not str:
            return None
        if not fields and body.count(_INPUTS) == 1 and _ESCAPE not in body:
            return text, b""
        if repeats_a_key(body, ("inputs", *fields)):
            return None
        return text, orjson.dumps(fields, option=orjson.OPT_SORT_KEYS) if fields else b""
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def write_batch(texts: list[str], others: bytes) -> bytes:
    """Write one request for texts of several requests, whose other fields `read_single` returned as ``others``."""
    fields = orjson.loads(others) if others else {}
    fields["inputs"] = texts
    return orjson.dumps(fields)


def fingerprints(texts: list[str], others: bytes) -> list[int]:
    """Make the fingerprints that `Texts.fingerprints` would make of each of the requests."""
    fields = orjson.loads(others) if others else {}
    return Inputs(_OPERATION, fields, list(texts), VECTORS, "inputs").fingerprints()


def split_vectors(count: int, reply: bytes) -> Sequence[bytes | memoryview]:
    """Split a reply into the vectors of ``count`` texts, as bytes; in a list, each is the reply to one request.

    Raises:
        Malformed: The number of vectors differs, or a number is null or NaN.
    """
    return VECTORS.split(count, reply)
