"""Calls of ``/vertex``: several requests in one and their answers in one list. Pure."""

from collections.abc import Sequence
from itertools import chain

from bench.fake_tei.calls import READERS, Kind, Reading, Work, admit
from embedfleet.dialects.json_body import Fields, read_object
from embedfleet.dialects.serde import tei_structs
from embedfleet.engine.api.vertex import Vertex

_PATHS = {"embed": "/embed", "sparse": "/embed_sparse", "rerank": "/rerank", "predict": "/predict"}


def read(content_type: bytes | None, body: bytes, reading: Reading) -> Work:
    """The work of a call of ``/vertex``.

    Args:
        content_type: Content type of the body.
        body: Body, as JSON.
        reading: Settings for reading.

    Raises:
        RequestError: The body does not fit the route.
        ServingError: An instance does not fit its own route.
    """
    return together([_work(path, fields, reading) for path, fields in instances(content_type, body, reading.kind)])


def instances(content_type: bytes | None, body: bytes, kind: Kind) -> list[tuple[str, Fields]]:
    """The instances of a call: the route and the fields of each.

    Raises:
        RequestError: The body does not fit the route.
        Validation: An instance does not fit the model.
    """
    value = read_object(content_type, body, tei_structs.VERTEX).sequence("instances")
    told = {"pooling": "splade" if kind == "splade" else "cls"}
    model = Vertex({"embedding": told} if kind in {"embedding", "splade"} else {kind: {}})
    return [(_PATHS[task], asked) for task, asked in model.read(value)]


def together(works: Sequence[Work]) -> Work:
    """Combine several calls into the one of ``/vertex``."""
    starts = [sum(len(before.texts) for before in works[:number]) for number in range(len(works))]
    tokens = [work.tokens for work in works]
    return Work(
        texts=list(chain.from_iterable(work.texts for work in works)),
        characters=sum(work.characters for work in works),
        answer=lambda spent: {"predictions": [work.answer(spent) for work in works]},
        deadly=frozenset(start + place for start, work in zip(starts, works, strict=True) for place in work.deadly),
        tokens=None if None in tokens else list(chain.from_iterable(one for one in tokens if one is not None)),
        is_costed=False,
    )


def _work(path: str, fields: Fields, reading: Reading) -> Work:
    _, reader = READERS[path]
    work = reader(fields, reading)
    admit(len(work.texts), reading.client_batch)
    return work
