"""Properties of a server on which the cases depend."""

from dataclasses import dataclass
from typing import Any

import orjson

from bench.conformance.asking import ask
from bench.conformance.comparison import near, value
from bench.conformance.recording import Answer, Case, Request, read

JSON_FIELD = ("content-type", "application/json")

# For each kind of model, the case whose value tells whether it is the recorded model.
_TELLING = {"embedder": "/embed plain", "reranker": "/rerank plain", "classifier": "/predict one", "splade": "/ one"}


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of a server.

    Attributes:
        recording: Name of the recording for its kind of model.
        is_recorded: Whether it has the recorded model.
        is_gateway: Whether it is our gateway.
        batch: ``max_client_batch_size``.
        length: ``max_input_length``, in tokens.
        dimensions: Dimensions of its vectors; 0 if it gives none.
        is_cross_encoder: Whether it also classifies texts; our late interaction ranks but does not classify.
    """

    recording: str
    is_recorded: bool = True
    is_gateway: bool = False
    batch: int = 32
    length: int = 32
    dimensions: int = 32
    is_cross_encoder: bool = True


def learn(url: str) -> Facts:
    """Ask a server for its properties.

    Raises:
        OSError: The server does not answer.
        ValueError: The server does not answer as TEI does.
    """
    answer = ask(url, Request("GET", "/info"))
    try:
        info = orjson.loads(str(answer.body))
        (kind, about), *_ = info["model_type"].items()
        batch, length = int(info["max_client_batch_size"]), int(info["max_input_length"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{url}/info answers {answer.status} {str(answer.body)[:200]!r}: {error!r}") from error
    recording = _recording(kind, about)
    return Facts(
        recording,
        _is_recorded(url, recording),
        "gateway" in info,
        batch,
        length,
        _dimensions(url) if recording == "embedder" else 0,
        (info.get("engine") or {}).get("scoring") is None,
    )


def recorded_facts(recording: str) -> Facts:
    """The properties of the recorded server, from its ``/info``."""
    answers = [case.answer for case in read(recording) if case.request.path == "/info" and case.answer.status == 200]
    info = orjson.loads(str(answers[0].body))
    return Facts(recording, batch=info["max_client_batch_size"], length=info["max_input_length"])


def _recording(kind: str, about: Any) -> str:  # noqa: ANN401 - a JSON value
    if kind == "embedding":
        return "splade" if about.get("pooling") == "splade" else "embedder"
    return kind


def _is_recorded(url: str, recording: str) -> bool:
    (telling,) = [case for case in read(recording) if case.name == _TELLING[recording]]
    return _is_same(telling, ask(url, telling.request))


def _is_same(case: Case, answer: Answer) -> bool:
    return answer.status == case.answer.status and near(value(answer, loose=True), value(case.answer, loose=True))


def _dimensions(url: str) -> int:
    answer = ask(url, Request("POST", "/embed", (JSON_FIELD,), b'{"inputs":"red"}'))
    vectors = orjson.loads(str(answer.body))
    return len(vectors[0])
