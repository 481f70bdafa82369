"""Failed replies: TEI's two JSON shapes, and plain text for what its framework refuses.

Source: TEI 1.9 (router/src/http/types.rs). No numpy here: the gateway answers errors too, and stays small.
"""

import orjson

from embedfleet.errors import Overloaded, RequestError, Saturated, ServingError, Unhealthy
from embedfleet.http.message import JSON, TEXT, Header

# Beginnings of what is wrong with a text; all else, such as a prompt's name, is wrong with the request.
_OF_A_TEXT = ("Input validation error: `inputs` ", "`inputs` ", "tokenizer error ", "Backend error: ", "score is ")
# Backend errors that every text meets: it is asked for what the model is not made for.
_OF_THE_MODEL = ("odel is not ", " is not available for ", " not supported ", "the model has no ")
_STOPPING = "the engine is stopping"

OPENAI_PATHS = ("/v1/", "/embeddings")
"""Beginnings of the paths whose errors are in OpenAI's shape, as TEI flattens it."""


def render_failure(path: str, error: RequestError | ServingError) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of a reply to a request for ``path`` that failed."""
    if isinstance(error, RequestError):
        return error.status, [TEXT], str(error).encode()
    headers = [JSON]
    if isinstance(error, Overloaded | Saturated | Unhealthy):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if path.startswith(OPENAI_PATHS):
        body = {"message": str(error), "code": error.status, "type": error.error_type}
    else:
        body = {"error": str(error), "error_type": error.error_type}
    return error.status, headers, orjson.dumps(body)


def name_place(body: bytes, place: str) -> bytes:
    """A failed reply that says where in the request the fault is, where it is a text's fault.

    TEI's errors name no text. A replica that was sent one text of several knows nothing of the others, so who sent it
    can tell.

    Args:
        body: of the reply, in either of TEI's JSON shapes; one that is not comes back as it is.
        place: of the text that the replica was sent, as in ``inputs[3]``.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(fields, dict):
        return body
    key = "message" if "message" in fields else "error"
    message = fields.get(key)
    if not isinstance(message, str) or not _is_of_a_text(message):
        return body
    return orjson.dumps({**fields, key: f"{message} (in `{place}`)"})


def is_of_the_model(body: bytes) -> bool:
    """Whether a failed reply says that the model is not made for what it was asked: every replica would say so."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    message = fields.get("message", fields.get("error")) if isinstance(fields, dict) else None
    return isinstance(message, str) and any(words in message for words in _OF_THE_MODEL)


def _is_of_a_text(message: str) -> bool:
    return message.startswith(_OF_A_TEXT) and not any(words in message for words in (*_OF_THE_MODEL, _STOPPING))
