"""Bodies of TEI's calls: the texts of a call and its answer once those are computed. Pure."""

import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Any, Literal, Protocol, get_args

import orjson

from bench.fake_tei.model import FakeModel
from bench.fake_tei.oracle import (
    DIMENSIONS,
    LABELS,
    options_of,
    ranking,
    score_of,
    similarity,
    tokens_of,
    vector_of,
)
from embedfleet.dialects.json_body import Fields, read_object
from embedfleet.dialects.serde import tei_structs
from embedfleet.dialects.serde.structs import Struct
from embedfleet.dialects.serving.openai import parse_embeddings
from embedfleet.dialects.serving.tei import (
    NO_IDS,
    NO_INPUTS,
    Input,
    Truncation,
    parse_decode,
    parse_embed,
    parse_embed_all,
    parse_predict,
    parse_rerank,
    parse_similarity,
    parse_tokenize,
)
from embedfleet.errors import Empty, Validation, WrongInput

Kind = Literal["embedding", "reranker", "classifier", "splade"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_TOKEN_VECTORS = 4  # maximum for each text in /embed_all


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a call.

    Attributes:
        texts: Texts, each with a place in the queue.
        characters: Number of characters of all texts.
        answer: Function that makes the reply's value from the tokens of all texts; called once the texts are computed.
        deadly: Places of the texts that end the replica which computes them.
        tokens: Tokens of each text; None if `tokens_of` gives them.
        is_costed: Whether the reply has the headers of its cost.
    """

    texts: Sequence[str]
    characters: int
    answer: Callable[[int], Any]
    deadly: frozenset[int] = frozenset()
    tokens: Sequence[int] | None = None
    is_costed: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """The settings for reading a call.

    Attributes:
        longest: Maximum number of tokens in an input (``max_input_length``).
        client_batch: Maximum number of texts in a call.
        model: The fake model.
        kind: Kind of the model; it decides what ``/`` stands for, while every other call is answered.
        auto_truncate: Whether texts that are too long are truncated, for calls that do not say.
        prompt_name: Name of the prompt for calls that name none; empty for no prompt.
        served_name: Model name in OpenAI's answers.
    """

    longest: int
    client_batch: int
    model: FakeModel
    kind: Kind = "embedding"
    auto_truncate: bool = True
    prompt_name: str = ""
    served_name: str = "fake"


class Computing(Protocol):
    """A model that computes answers, as `served.Served` does."""

    def info(self) -> dict[str, Any]:
        """Body of ``/info``."""

    async def read(self, path: str, content_type: bytes | None, body: bytes) -> Work:
        """The work of a call, as `read` gives it."""

    async def ask(self, path: str, content_type: bytes | None, body: bytes) -> Any:  # noqa: ANN401
        """The tokenizer's answer, as `ask` gives it."""


def read(path: str, content_type: bytes | None, body: bytes, reading: Reading) -> Work:
    """The work of a call.

    Args:
        path: One of `routes.INFERRED` except ``/vertex``.
        content_type: Content type of the body.
        body: Body, as JSON.
        reading: Settings for reading.

    Raises:
        RequestError: The body does not fit the route.
        ServingError: The input is empty or out of bounds.
    """
    struct, reader = READERS.get(path) or READERS[OWN_PATHS[reading.kind]]
    work = reader(read_object(content_type, body, struct), reading)
    admit(len(work.texts), reading.client_batch)
    return work


def ask(path: str, content_type: bytes | None, body: bytes, reading: Reading) -> Any:  # noqa: ANN401 - a JSON value
    """The tokenizer's answer, given at once without the queue.

    Args:
        path: One of `routes.ASKED`.
        content_type: Content type of the body.
        body: Body, as JSON.
        reading: Settings for reading.

    Raises:
        RequestError: The body does not fit the route.
        ServingError: The input is empty or out of bounds.
    """
    struct, reader = ASKED[path]
    return reader(read_object(content_type, body, struct), reading)


def admit(texts: int, most: int) -> None:
    """Refuse a call with too many texts.

    Raises:
        Validation: The call has too many texts.
    """
    if texts > most:
        raise Validation(f"batch size {texts} > maximum allowed batch size {most}")


def _tokenize(fields: Fields, reading: Reading) -> list[list[dict[str, Any]]]:
    request = parse_tokenize(fields)
    admit(len(request.inputs), reading.client_batch)
    if not all(request.inputs):
        raise Empty(NO_INPUTS)
    return [reading.model.tokenize(text, special=request.add_special_tokens) for text in request.inputs]


def _decode(fields: Fields, reading: Reading) -> list[str]:
    request = parse_decode(fields)
    admit(len(request.ids), reading.client_batch)
    if not all(request.ids):
        raise Empty(NO_IDS)
    return [reading.model.decode(ids, skip_special=request.skip_special_tokens) for ids in request.ids]


ASKED: dict[str, tuple[Struct, Callable[[Fields, Reading], Any]]] = {
    "/tokenize": (tei_structs.TOKENIZE, _tokenize),
    "/decode": (tei_structs.DECODE, _decode),
}


def _texts(inputs: Sequence[Input], model: FakeModel) -> list[str]:
    """Texts of inputs that are texts or ids; ids outside of the vocabulary are dropped."""
    if not all(inputs):
        raise Empty(NO_INPUTS)
    return [item if isinstance(item, str) else model.decode(item, skip_special=False) for item in inputs]


def _deadly(inputs: Sequence[Input], texts: Sequence[str], model: FakeModel) -> frozenset[int]:
    """Places of the inputs that end the replica which computes them; ``texts`` are the inputs' texts."""
    pairs = enumerate(zip(inputs, texts, strict=True))
    return frozenset(place for place, (item, text) in pairs if model.ends(text, from_ids=not isinstance(item, str)))


def _check_lengths(texts: Sequence[str], truncation: Truncation, reading: Reading, *, beside: int = 0) -> None:
    """Refuse texts that are too long, unless they are truncated.

    Args:
        texts: Texts of the call.
        truncation: Truncation as the call asks for it.
        reading: Settings for reading.
        beside: Further tokens of each text.

    Raises:
        WrongInput: A text is too long.
    """
    if reading.auto_truncate if truncation.truncate is None else truncation.truncate:
        return
    for given in (beside + tokens_of(text, sys.maxsize) for text in texts):
        if given > reading.longest:
            said = f"`inputs` must have less than {reading.longest} tokens. Given: {given}"
            raise WrongInput(f"Input validation error: {said}")


def _work(texts: Sequence[str], answer: Callable[[int], Any], deadly: frozenset[int]) -> Work:
    return Work(texts, sum(map(len, texts)), answer, deadly)


def _cut(dimensions: int | None) -> int:
    if dimensions is None:
        return DIMENSIONS
    if dimensions == 0:
        raise Validation("Input validation error: `dimensions` should be positive")
    if dimensions > DIMENSIONS:
        said = "`dimensions` should be smaller than the maximum embedding dimension."
        raise Validation(f"Input validation error: {said}")
    return dimensions


def _embed(fields: Fields, reading: Reading) -> Work:
    request = parse_embed(fields)
    prompt_name = request.prompt_name or reading.prompt_name
    options, size = options_of(request.normalize, prompt_name), _cut(request.dimensions)
    texts = _texts(request.inputs, reading.model)
    _check_lengths(texts, request.truncation, reading)
    deadly = _deadly(request.inputs, texts, reading.model)
    return _work(texts, lambda _: [vector_of(text, options)[:size] for text in texts], deadly)


def _embed_all(fields: Fields, reading: Reading) -> Work:
    request = parse_embed_all(fields)
    inputs = request.inputs
    texts = _texts(inputs, reading.model)
    _check_lengths(texts, request.truncation, reading)

    def token_vectors(text: str) -> list[list[float]]:
        count = min(_TOKEN_VECTORS, tokens_of(text, reading.longest))
        return [vector_of(text, f"t{token}") for token in range(count)]

    deadly = _deadly(inputs, texts, reading.model)
    return _work(texts, lambda _: [token_vectors(text) for text in texts], deadly)


def _embed_sparse(fields: Fields, reading: Reading) -> Work:
    request = parse_embed_all(fields)
    inputs = request.inputs
    texts = _texts(inputs, reading.model)
    _check_lengths(texts, request.truncation, reading)

    def weights(text: str) -> list[dict[str, float]]:
        return [{"index": 7 * place, "value": value} for place, value in enumerate(vector_of(text)) if value > 0]

    return _work(texts, lambda _: [weights(text) for text in texts], _deadly(inputs, texts, reading.model))


def _rerank(fields: Fields, reading: Reading) -> Work:
    request = parse_rerank(fields)
    texts = request.texts
    query_tokens = tokens_of(request.query, sys.maxsize)
    _check_lengths(texts, request.truncation, reading, beside=query_tokens)

    def ranks(_: int) -> list[dict[str, Any]]:
        scores = [score_of(request.query, text) for text in texts]
        given = [{"text": text} if request.return_text else {} for text in texts]
        return [{"index": index, **given[index], "score": scores[index]} for index in ranking(scores)]

    characters = sum(map(len, texts)) + len(request.query) * len(texts)
    pairs = [request.query + text for text in texts]
    return Work(texts, characters, ranks, _deadly(pairs, pairs, reading.model))


def _predict(fields: Fields, reading: Reading) -> Work:
    request = parse_predict(fields)
    texts = [item if isinstance(item, str) else "".join(item) for item in request.inputs]
    if not all(texts):
        raise Empty(NO_INPUTS)
    _check_lengths(texts, request.truncation, reading)

    def classes(text: str) -> list[dict[str, Any]]:
        score = score_of("", text)
        scores = (1.0 - score, score)
        return [{"score": scores[index], "label": LABELS[index]} for index in ranking(scores)]

    def rows(_: int) -> list[Any]:
        return [classes(text) for text in texts] if request.batch else classes(texts[0])

    return _work(texts, rows, _deadly(texts, texts, reading.model))


def _similarity(fields: Fields, reading: Reading) -> Work:
    request = parse_similarity(fields)
    source = vector_of(request.source)
    texts = [request.source, *request.sentences]
    if not all(texts):
        raise Empty(NO_INPUTS)
    _check_lengths(texts, request.truncation, reading)
    deadly = _deadly(texts, texts, reading.model)
    return _work(texts, lambda _: [similarity(source, vector_of(text)) for text in request.sentences], deadly)


def _openai(fields: Fields, reading: Reading) -> Work:
    request = parse_embeddings(fields)
    texts, size = _texts(request.inputs, reading.model), _cut(request.dimensions)
    _check_lengths(texts, Truncation(), reading)
    options = options_of(normalize=True, prompt_name=reading.prompt_name)

    def written(text: str) -> list[float] | str:
        vector = vector_of(text, options)[:size]
        return b64encode(pack(f"<{size}f", *vector)).decode() if request.base64 else vector

    def reply(tokens: int) -> dict[str, Any]:
        data = [{"object": "embedding", "embedding": written(text), "index": i} for i, text in enumerate(texts)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": reading.served_name, "usage": usage}

    return _work(texts, reply, _deadly(request.inputs, texts, reading.model))


OWN_PATHS: dict[Kind, str] = {
    "embedding": "/embed",
    "reranker": "/rerank",
    "classifier": "/predict",
    "splade": "/embed_sparse",
}
"""The route that ``/`` and ``/invocations`` stand for, by kind of model."""

READERS: dict[str, tuple[Struct, Callable[[Fields, Reading], Work]]] = {
    "/embed": (tei_structs.EMBED, _embed),
    "/embed_all": (tei_structs.EMBED_ALL, _embed_all),
    "/embed_sparse": (tei_structs.EMBED_SPARSE, _embed_sparse),
    "/rerank": (tei_structs.RERANK, _rerank),
    "/predict": (tei_structs.PREDICT, _predict),
    "/similarity": (tei_structs.SIMILARITY, _similarity),
    "/v1/embeddings": (tei_structs.EMBEDDINGS, _openai),
    "/embeddings": (tei_structs.EMBEDDINGS, _openai),
}


def spoil(value: Any, how: str) -> bytes:  # noqa: ANN401 - a JSON value
    """A wrong reply with status 200, of a kind that `bench.fake_tei.faults.Fault` describes."""
    if how == "garbage":
        return orjson.dumps(value)[:-1] + b"<html>"
    rows = value["data"] if isinstance(value, dict) else value
    wrong = rows[:-1] if how == "short" else [_nulls(row) for row in rows]
    return orjson.dumps(value | {"data": wrong} if isinstance(value, dict) else wrong)


def _nulls(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: _nulls(item) if key in {"embedding", "score", "value"} else item for key, item in value.items()}
    return None
