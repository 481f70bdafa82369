"""Calls of ``/vertex``: several requests in one, and their answers in one list. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import orjson

from bench.fake_tei.calls import OWN_PATHS, Kind, Reading, Work
from bench.fake_tei.calls import read as read_call
from embedfleet.dialects.body import read_object
from embedfleet.dialects.tei import parse_rerank
from embedfleet.errors import Empty, RequestError, Validation, WrongShape

JSON_TYPE = b"application/json"
_SHAPE = "Failed to deserialize the JSON body into the target type: "
_POSITION = re.compile(r" at line \d+ column \d+$")


@dataclass(frozen=True, slots=True)
class Instance:
    """One of the requests that ``/vertex`` brings.

    Attributes:
        path: of the route that it is for.
        body: of that route's call.
    """

    path: str
    body: bytes


def instances(content_type: bytes | None, body: bytes, kind: Kind) -> list[Instance]:
    """What a call of ``/vertex`` brings: a ranking is told by its fields, all else is the model's own.

    Raises:
        RequestError: it is not what the route takes.
    """
    value = read_object(content_type, body).raw("instances")
    if not isinstance(value, list):
        raise WrongShape(f"{_SHAPE}instances: invalid type, expected a sequence")
    bodies = list(map(orjson.dumps, value))
    own = "/predict" if kind == "reranker" else OWN_PATHS[kind]
    return [Instance("/rerank" if _is_ranking(one) else own, one) for one in bodies]


def _is_ranking(body: bytes) -> bool:
    try:
        parse_rerank(read_object(JSON_TYPE, body))
    except RequestError:
        return False
    except Empty:
        return True
    return True


def unframed(error: RequestError) -> Validation:
    """The refusal of an instance, in the words for a body of its own."""
    return Validation(_POSITION.sub("", str(error).removeprefix(_SHAPE)))


def together(works: Sequence[Work]) -> Work:
    """Several calls as the one that ``/vertex`` makes of them."""
    starts = [sum(len(before.texts) for before in works[:number]) for number in range(len(works))]
    return Work(
        texts=list(chain.from_iterable(work.texts for work in works)),
        characters=sum(work.characters for work in works),
        answer=lambda tokens: {"predictions": [work.answer(tokens) for work in works]},
        deadly=frozenset(start + place for start, work in zip(starts, works, strict=True) for place in work.deadly),
        is_costed=False,
    )


def read(content_type: bytes | None, body: bytes, reading: Reading) -> Work:
    """The work of a call; errors are those of `calls.read`.

    Args:
        content_type: of the body.
        body: JSON.
        reading: of the replica.

    Raises:
        RequestError: it is not what the route takes.
        ServingError: an instance is not what its own route takes.
    """
    return together([_work(instance, reading) for instance in instances(content_type, body, reading.kind)])


def _work(instance: Instance, reading: Reading) -> Work:
    try:
        return read_call(instance.path, JSON_TYPE, instance.body, reading)
    except RequestError as error:
        raise unframed(error) from None
