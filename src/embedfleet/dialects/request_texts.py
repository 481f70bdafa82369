"""Reading of the texts of a POST for the gateway, by the table of routes."""

from sys import maxsize
from typing import Final

import orjson

from embedfleet.dialects.json_body import is_json
from embedfleet.dialects.parse_limits import SMALL_BYTES, find_excess
from embedfleet.dialects.routes import MODELS_OWN, ROUTES, path_of
from embedfleet.dialects.splitting.readers import BodyReader
from embedfleet.dialects.splitting.reply import ReplyShape
from embedfleet.dialects.splitting.texts import Object, Texts
from embedfleet.errors import Validation

_Reading = tuple[BodyReader, str, ReplyShape]
"""Reader of a route's body, with the operation and the reply shape of its texts."""

# Unpacked from the table once, because every request needs it.
_READINGS: Final[dict[str, _Reading]] = {
    route.path: (route.reader, route.operation, route.reply)
    for route in ROUTES
    if route.reader is not None and route.reply is not None
}
_OWN_PATHS: Final = frozenset(route.path for route in ROUTES if route.operation == MODELS_OWN)
_EMBED: Final = path_of("embed")
_RERANK: Final = path_of("rerank")
_SIMILARITY: Final = path_of("similarity")


def read_texts(
    path: str, content_type: bytes | None, body: bytes, most: int = maxsize, own_path: str = ""
) -> Texts | None:
    """Read the texts of a POST.

    Args:
        path: Path of the request.
        content_type: Content type of the body.
        body: Body as received.
        most: Maximum number of texts in a request.
        own_path: Path for which the model's own routes, ``/`` and ``/invocations``, are aliases; empty if unknown.

    Returns:
        The texts; None if the route takes none, or if the body does not fit: a replica then refuses it in TEI's words.

    Raises:
        Validation: The body has more than ``most`` texts, or too many items of any kind to be parsed.
    """
    reading = _READINGS.get(path)
    if reading is None and path not in _OWN_PATHS:
        return None
    if not (content_type == b"application/json" or is_json(content_type)):
        return None
    if len(body) > SMALL_BYTES and (excess := find_excess(body, most)):
        raise Validation(
            f"the request has over {excess}: send fewer texts at once, and only the fields that are needed"
        )
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(fields) is not dict:
        return None
    if reading is None:
        reading = _READINGS[_aliased(fields, own_path)]
    reader, operation, reply = reading
    return reader.read(operation, reply, fields, most)


def _aliased(fields: Object, own_path: str) -> str:
    """The path for which the model's own route is an alias, judged by the body.

    With an embedder this is the route for vectors, or for similarities if it was started to compare sentences; clients
    know which. While the model is unknown, only a body that fits a single route is read, because a single text may be
    meant for an embedder or for a classifier.
    """
    if own_path not in _READINGS:
        return _RERANK if "query" in fields else _SIMILARITY
    return _SIMILARITY if own_path == _EMBED and type(fields.get("inputs")) is dict else own_path
