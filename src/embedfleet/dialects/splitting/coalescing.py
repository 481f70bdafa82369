"""Requests for the vector of one text each, which may be asked for together."""

from collections.abc import Sequence
from typing import Final

import orjson

from embedfleet.dialects.body import is_json, repeats_a_key
from embedfleet.dialects.splitting.answers import VECTORS
from embedfleet.dialects.splitting.texts import Inputs

_PATH: Final = "/embed"
_INPUTS: Final = b'"inputs"'


def embeds_json(path: str, content_type: bytes | None) -> bool:
    """Whether a POST there asks for vectors in the shape that `read_lone` reads."""
    return path == _PATH and is_json(content_type)


def read_lone(body: bytes) -> tuple[str, bytes] | None:
    """The text of a ``POST /embed`` that asks for one vector, and all else that it says.

    OpenAI's replies count tokens in the body: of several texts nobody could tell each one's. So there is none of these.

    Returns:
        The text, and what is the same for requests that may be asked as one of several texts, see `write_together`.
        None if it asks for anything else, is not of that shape, or cannot be written as it was read.
    """
    try:
        fields = orjson.loads(body)
        if type(fields) is not dict or type(text := fields.pop("inputs", None)) is not str:
            return None
        if not fields and body.count(_INPUTS) == 1:
            return text, b""
        if repeats_a_key(body, ("inputs", *fields)):
            return None
        return text, orjson.dumps(fields, option=orjson.OPT_SORT_KEYS) if fields else b""
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def write_together(texts: list[str], others: bytes) -> bytes:
    """The body of one request for texts that were asked for one by one; ``others`` as `read_lone` has it."""
    fields = orjson.loads(others) if others else {}
    fields["inputs"] = texts
    return orjson.dumps(fields)


def fingerprints(texts: list[str], others: bytes) -> list[int]:
    """`Texts.fingerprints` of texts that were asked for one by one; ``others`` as `read_lone` has it."""
    fields = orjson.loads(others) if others else {}
    return Inputs(_PATH, fields, list(texts), VECTORS, "inputs").fingerprints()


def split_vectors(count: int, reply: bytes) -> Sequence[bytes | memoryview]:
    """The vectors of a reply to so many texts, each as it stands there: a list of it is the reply to one alone.

    Raises:
        Malformed: another number of vectors, or a null or NaN in place of a number.
    """
    return VECTORS.split(count, reply)
