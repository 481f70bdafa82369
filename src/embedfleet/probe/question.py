"""The requests of probes, made from a replica's ``/info``, and the check of their answers. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from embedfleet.dialects.routes import own_operation, path_of

_EMBED: Final = path_of("embed")
_EMBED_SPARSE: Final = path_of("embed_sparse")
_RERANK: Final = path_of("rerank")
_PREDICT: Final = path_of("predict")

# The text has words, capitals, accents, signs and digits, so that the result depends on the tokenizer, the prompt and
# the pooling. A longer text would cost more and show no more.
_TEXT = "The quick brown fox's 42 friends, all from Zürich, asked: “Is THIS déjà vu?”"
_OTHERS = ("Déjà vu is the feeling of having lived through the PRESENT before.", "Zürich lies 408 m above the sea.")
_SHORT = "ok"


def question(info: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Make the path and body of a probe from a replica's ``/info``, so that no value of the answer is normalised."""
    path = own_path(info)
    if path == _RERANK:
        most = info.get("max_client_batch_size")
        texts = (_TEXT, *_OTHERS)[: most if isinstance(most, int) and most > 0 else None]
        return path, {"query": _TEXT, "texts": list(texts), "raw_scores": True, "truncate": True}
    if path == _PREDICT:
        return path, {"inputs": _TEXT, "raw_scores": True, "truncate": True}
    if path == _EMBED_SPARSE:  # TEI's /embed serves a SPLADE model only without normalising
        return path, {"inputs": _TEXT, "truncate": True}
    return path, {"inputs": _TEXT, "normalize": False, "truncate": True}


def own_path(info: Mapping[str, Any]) -> str:
    """The route for which ``POST /`` is an alias, from a replica's ``/info``."""
    kind, pooling = _kind(info)
    return path_of(own_operation("splade" if pooling == "splade" else kind))


def batch_of(info: Mapping[str, Any], texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Make the path and body of a request with the given texts, from a replica's ``/info``."""
    path = own_path(info)
    if path == _RERANK:
        return path, {"query": _SHORT, "texts": list(texts)}
    if path == _PREDICT:
        return path, {"inputs": [[text] for text in texts]}
    return path, {"inputs": list(texts)}


def _kind(info: Mapping[str, Any]) -> tuple[str, Any]:
    kind, about = next(iter(info["model_type"].items()), ("", None))
    return kind, about.get("pooling") if isinstance(about, dict) else None


def is_answer(path: str, answer: object, body: Mapping[str, Any]) -> bool:
    """Whether a reply answers a probe with finite numbers; after a NaN on a GPU, TEI answers 200 with nulls.

    Args:
        path: Path of the request.
        answer: JSON value of the reply.
        body: Body of the request.
    """
    count = len(body["texts"]) if path == _RERANK else 1
    return isinstance(answer, list) and _CHECKS[path](answer, count)


def _is_vectors(answer: list[Any], _count: int) -> bool:
    return len(answer) == 1 and isinstance(answer[0], list) and bool(answer[0]) and all(map(_is_finite, answer[0]))


def _is_sparse(answer: list[Any], _count: int) -> bool:
    """Whether an answer is the list of one text's weighted words, which may be empty."""
    return len(answer) == 1 and isinstance(answer[0], list) and all(_has("value", row) for row in answer[0])


def _is_ranking(answer: list[Any], count: int) -> bool:
    return len(answer) == count and all(_has("score", row) for row in answer)


def _is_prediction(answer: list[Any], _count: int) -> bool:
    return len(answer) > 0 and all(_has("score", row) for row in answer)


def _has(what: str, row: object) -> bool:
    return isinstance(row, dict) and _is_finite(row.get(what))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_CHECKS: dict[str, Callable[[list[Any], int], bool]] = {
    _EMBED: _is_vectors,
    _EMBED_SPARSE: _is_sparse,
    _RERANK: _is_ranking,
    _PREDICT: _is_prediction,
}
