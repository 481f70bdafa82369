"""The JSON bodies of failed replies, written and read.

Source: TEI 1.9 (router/src/http/types.rs). This module does not import numpy, because the gateway uses it too and must
stay small.
"""

from enum import Enum

import orjson

from embedfleet.errors import ServingError

# Beginnings of messages about one text. Other messages, such as one about the name of a prompt, concern the request.
_ABOUT_A_TEXT = ("Input validation error: `inputs` ", "`inputs` ", "tokenizer error ", "Backend error: ", "score is ")
# Parts of backend errors that every text of the request would get, because the model cannot serve such a request.
_ABOUT_THE_MODEL = ("odel is not ", " is not available for ", " not supported ", "the model has no ")
_STOPPING = "the engine is stopping"


class ErrorStyle(Enum):
    """A JSON shape of error bodies.

    Attributes:
        TEI: ``{"error", "error_type"}``.
        OPENAI: ``{"message", "code", "type"}``, which is OpenAI's shape as TEI flattens it.
    """

    TEI = "TEI"
    OPENAI = "OpenAI"


def write_error(error: ServingError, style: ErrorStyle) -> bytes:
    """Write the body for an error."""
    if style is ErrorStyle.OPENAI:
        return orjson.dumps({"message": str(error), "code": error.status, "type": error.error_type})
    return orjson.dumps({"error": str(error), "error_type": error.error_type})


def add_place(body: bytes, place: str) -> bytes:
    """Add the place of the faulty text to an error body, if the error is about one text.

    TEI's errors do not name the text. A replica that got one text of several cannot know its place; the caller does.

    Args:
        body: Body of the reply; returned unchanged if it is in neither style.
        place: Place of the text in the request, such as ``inputs[3]``.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(fields, dict):
        return body
    key = "message" if "message" in fields else "error"
    message = fields.get(key)
    if not isinstance(message, str) or not _is_about_a_text(message):
        return body
    return orjson.dumps({**fields, key: f"{message} (in `{place}`)"})


def is_model_mismatch(body: bytes) -> bool:
    """Whether an error body says that the model cannot serve such a request; every replica would give this error."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    message = fields.get("message", fields.get("error")) if isinstance(fields, dict) else None
    return isinstance(message, str) and any(words in message for words in _ABOUT_THE_MODEL)


def _is_about_a_text(message: str) -> bool:
    return message.startswith(_ABOUT_A_TEXT) and not any(words in message for words in (*_ABOUT_THE_MODEL, _STOPPING))
