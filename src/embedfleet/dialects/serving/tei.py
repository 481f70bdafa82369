"""The native dialect of Text Embeddings Inference 1.9: requests, replies, errors and reply headers.

Source of the shapes and of all messages: TEI 1.9 (router/src/http/types.rs, router/src/http/server.rs), compared with
the answers of a real TEI (docs/conformance.md). The messages for malformed bodies are in `dialects.serde`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson

from embedfleet.arrays import Floats
from embedfleet.dialects.json_body import Fields, Json, is_token_id
from embedfleet.errors import Empty
from embedfleet.http.message import Header

Input = str | list[int]
"""One input: a text, or token ids."""
Pair = tuple[str, str]
Direction = Literal["left", "right"]

NO_INPUTS = "Input validation error: `inputs` cannot be empty"
NO_IDS = "Input validation error: `input_ids` cannot be empty"
_DIRECTIONS = {"Right": "right", "right": "right", "Left": "left", "left": "left"}


@dataclass(frozen=True, slots=True)
class Truncation:
    """Treatment of inputs that are too long; if ``truncate`` is None, the server's ``auto_truncate`` decides."""

    truncate: bool | None = None
    direction: Direction = "right"


_BY_SERVER = Truncation()


@dataclass(slots=True)  # making a frozen one takes three times as long, and each request needs one
class EmbedRequest:
    """Body of ``/embed``, and of ``/embed_sparse`` and ``/embed_all``, which ignore the last two fields."""

    inputs: Sequence[Input]
    batch: bool
    truncation: Truncation
    prompt_name: str | None
    normalize: bool = True
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """Body of ``/rerank``."""

    query: str
    texts: Sequence[str]
    truncation: Truncation
    raw_scores: bool
    return_text: bool


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """Body of ``/predict``: texts and pairs of texts."""

    inputs: Sequence[str | Pair]
    batch: bool
    truncation: Truncation
    raw_scores: bool


@dataclass(frozen=True, slots=True)
class SimilarityRequest:
    """Body of ``/similarity``."""

    source: str
    sentences: Sequence[str]
    truncation: Truncation
    prompt_name: str | None


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    """Body of ``/tokenize``."""

    inputs: Sequence[str]
    add_special_tokens: bool
    prompt_name: str | None


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """Body of ``/decode``."""

    ids: Sequence[Sequence[int]]
    skip_special_tokens: bool


def parse_embed(fields: Fields) -> EmbedRequest:
    """Read ``/embed``."""
    inputs, batch = parse_inputs(fields, "inputs")
    return EmbedRequest(
        inputs=inputs,
        batch=batch,
        truncation=_truncation(fields),
        prompt_name=fields.optional_string("prompt_name"),
        normalize=fields.boolean("normalize", default=True),
        dimensions=fields.optional_count("dimensions"),
    )


def parse_embed_all(fields: Fields) -> EmbedRequest:
    """Read ``/embed_all`` or ``/embed_sparse``, which ignore the other fields of `EmbedRequest`."""
    inputs, batch = parse_inputs(fields, "inputs")
    return EmbedRequest(inputs, batch, _truncation(fields), fields.optional_string("prompt_name"))


def parse_inputs(fields: Fields, name: str) -> tuple[list[Input], bool]:
    """Read the inputs in a field; return them, and whether they are a batch.

    A string or a flat list of ids is one input; any other list is a batch. An empty list is one input without ids,
    which the tokenizer refuses later, as TEI's does.
    """
    value = fields.raw(name)
    if isinstance(value, str):
        return [value], False
    if isinstance(value, list):
        if all(is_token_id(item) for item in value):
            return [value], False
        if all(_is_input(item) for item in value):
            return value, True
    raise fields.unmatched(name, "Input")


def _is_input(value: Json) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(is_token_id(item) for item in value))


def parse_rerank(fields: Fields) -> RerankRequest:
    """Read ``/rerank``.

    Raises:
        Empty: There are no texts.
    """
    query, texts = fields.string("query"), fields.strings("texts")
    request = RerankRequest(
        query=query,
        texts=texts,
        truncation=_truncation(fields),
        raw_scores=fields.boolean("raw_scores", default=False),
        return_text=fields.boolean("return_text", default=False),
    )
    if not texts:
        raise Empty("`texts` cannot be empty")
    return request


def parse_predict(fields: Fields) -> PredictRequest:
    """Read ``/predict``: ``"a"`` and ``["a"]`` are one text, ``["a", "b"]`` one pair, a list of lists a batch."""
    value = fields.raw("inputs")
    batch = isinstance(value, list) and bool(value) and all(isinstance(item, list) for item in value)
    items = [_sequence(item) for item in (value if batch else [value])]
    inputs = [item for item in items if item is not None]
    if len(inputs) != len(items):
        raise fields.unmatched("inputs", "PredictInput")
    return PredictRequest(inputs, batch, _truncation(fields), fields.boolean("raw_scores", default=False))


def _sequence(value: Json) -> str | Pair | None:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    if len(value) == 1:
        return str(value[0])
    return (value[0], value[1]) if len(value) == 2 else None


def parse_similarity(fields: Fields) -> SimilarityRequest:
    """Read ``/similarity``.

    Raises:
        Empty: There are no sentences.
    """
    inputs, parameters = fields.object("inputs"), fields.optional_object("parameters")
    source, sentences = inputs.string("source_sentence"), inputs.strings("sentences")
    request = SimilarityRequest(source, sentences, _truncation(parameters), parameters.optional_string("prompt_name"))
    if not sentences:
        raise Empty("`inputs.sentences` cannot be empty")
    return request


def parse_tokenize(fields: Fields) -> TokenizeRequest:
    """Read ``/tokenize``.

    Raises:
        Empty: There are no inputs.
    """
    value = fields.raw("inputs")
    inputs = [value] if isinstance(value, str) else value
    if not isinstance(inputs, list) or not all(isinstance(item, str) for item in inputs):
        raise fields.unmatched("inputs", "TokenizeInput")
    request = TokenizeRequest(
        inputs, fields.boolean("add_special_tokens", default=True), fields.optional_string("prompt_name")
    )
    if not inputs:
        raise Empty("`inputs` cannot be empty")
    return request


def parse_decode(fields: Fields) -> DecodeRequest:
    """Read ``/decode``.

    Raises:
        Empty: There are no ids.
    """
    value = fields.raw("ids")
    if not isinstance(value, list):
        raise fields.unmatched("ids", "InputIds")
    ids = [value] if all(is_token_id(item) for item in value) else value
    if not all(isinstance(item, list) and all(is_token_id(i) for i in item) for item in ids):
        raise fields.unmatched("ids", "InputIds")
    skip = fields.boolean("skip_special_tokens", default=True)
    if not value:
        raise Empty(NO_IDS)
    return DecodeRequest(ids, skip)


def _truncation(fields: Fields) -> Truncation:
    if "truncation_direction" not in fields and "truncate" not in fields:
        return _BY_SERVER
    direction = fields.choice("truncation_direction", _DIRECTIONS, default="right")
    return Truncation(fields.optional_boolean("truncate"), "left" if direction == "left" else "right")


def render(value: object) -> bytes:
    """Write a reply as JSON, with the fewest digits for each float32 number."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def render_ranks(scores: Floats, texts: Sequence[str] | None) -> bytes:
    """Write the reply of ``/rerank``: best score first; among equal scores, the higher index first.

    Args:
        scores: Scores, [texts].
        texts: Texts to return with their scores; None to return none.
    """
    ranks: list[dict[str, Any]] = []
    for index in descending(scores):
        rank: dict[str, Any] = {"index": index}
        if texts is not None:
            rank["text"] = texts[index]
        rank["score"] = scores[index]
        ranks.append(rank)
    return render(ranks)


def predictions(scores: Floats, labels: Sequence[str]) -> list[dict[str, Any]]:
    """List one input's classes, best first.

    Args:
        scores: Scores, [labels].
        labels: Names of the classes in the order of their numbers.
    """
    return [{"score": scores[index], "label": labels[index]} for index in descending(scores)]


def sparse(weights: Mapping[int, float]) -> list[dict[str, Any]]:
    """List the weighted words of one input, by ascending index."""
    return [{"index": index, "value": weights[index]} for index in sorted(weights)]


def descending(scores: Floats) -> list[int]:
    """List indices by descending score; among equal scores, the higher index first, as TEI reverses a stable sort."""
    order: list[int] = np.argsort(scores, kind="stable")[::-1].tolist()
    return order


@dataclass(slots=True)  # making a frozen one takes three times as long, and each request needs one
class RequestCost:
    """Cost of a request; times in seconds; queue and inference times are means over its inputs."""

    characters: int
    tokens: int
    total_s: float
    tokenization_s: float
    queue_s: float
    inference_s: float


# TEI sends this type on a CPU too.
_COST = (
    b"x-compute-type: gpu+optimized\r\nx-compute-time: %d\r\nx-compute-characters: %d\r\nx-compute-tokens: %d\r\n"
    b"x-total-time: %d\r\nx-tokenization-time: %d\r\nx-queue-time: %d\r\nx-inference-time: %d\r\n"
)


def cost_lines(cost: RequestCost) -> bytes:
    """Make TEI's fields of a successful reply, each with its CRLF, with times in whole milliseconds, rounded down."""
    total = int(cost.total_s * 1000)
    return _COST % (
        *(total, cost.characters, cost.tokens, total),
        *(int(cost.tokenization_s * 1000), int(cost.queue_s * 1000), int(cost.inference_s * 1000)),
    )


def cost_headers(cost: RequestCost) -> list[Header]:
    """Make the same fields as `cost_lines`, as names and values."""
    parts = [line.partition(b": ") for line in cost_lines(cost).splitlines()]
    return [(name, value) for name, _, value in parts]
