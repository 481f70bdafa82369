"""Health by inference: what is asked of a replica, and what counts as an answer.

A replica's GET /health can be 200 while every inference fails, and a replica that fails fast attracts traffic. So a
replica serves only once it has embedded or ranked something, and after a failure only once it has done so again.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson

from embedfleet.errors import Malformed, Refused, Reset, Starved, UpstreamError
from embedfleet.http.client import Reply, fetch
from embedfleet.http.message import JSON
from embedfleet.types import Endpoint

_INFO_TIMEOUT_S = 10.0
_TEXT = "ok"
_FULL = 429


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What replicas of one pool must agree on, or clients would get vectors of different spaces.

    Attributes:
        model: the model's name without the folders before it, which differ between hosts and containers.
    """

    model: str
    revision: str
    dtype: str
    task: str
    pooling: str
    labels: str

    @classmethod
    def of(cls, info: dict[str, Any]) -> "Fingerprint":
        """From TEI's ``/info``."""
        model = str(info.get("model_id") or "").rstrip("/").rpartition("/")[2]
        kinds = info.get("model_type") or {}
        task = next(iter(kinds), "")
        kind = kinds.get(task)
        kind = kind if isinstance(kind, dict) else {}
        labels = orjson.dumps(kind.get("id2label") or {}, option=orjson.OPT_SORT_KEYS).decode()
        revision, dtype = str(info.get("model_sha") or ""), str(info.get("model_dtype") or "")
        return cls(model, revision, dtype, task, str(kind.get("pooling") or ""), labels)

    def difference(self, pool: "Fingerprint") -> str:
        """In which fields it is not the pool's, in words."""
        told = [
            f"{field.name} is {getattr(self, field.name)!r}, the pool's is {getattr(pool, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(pool, field.name)
        ]
        return "; ".join(told)


class Prober:
    """Asks replicas to infer, and keeps what they say of themselves.

    Args:
        timeout_s: for the inference.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._infos: dict[str, dict[str, Any]] = {}
        self._absences: Counter[str] = Counter()

    def info(self, serving: list[str]) -> dict[str, Any] | None:
        """The pool's ``/info``: that of the first replica that serves."""
        return next((self._infos[name] for name in serving if name in self._infos), None)

    def info_of(self, name: str) -> dict[str, Any] | None:
        """What a replica said of itself last, None before it did."""
        return self._infos.get(name)

    def absences(self, name: str) -> int:
        """How often nobody was found where a replica should be; who came after that may be another process."""
        return self._absences[name]

    def disagreement(self, name: str, serving: list[str]) -> str:
        """In what a replica differs from those that serve, in words; empty if in nothing.

        To be asked once more when a probe is over: of two that join together, none served when the other was asked.
        """
        own, pool = self._infos.get(name), self.info(serving)
        if own is None or pool is None:
            return ""
        return Fingerprint.of(own).difference(Fingerprint.of(pool))

    async def probe(self, endpoint: Endpoint, serving: list[str]) -> str:
        """Ask one replica.

        Args:
            endpoint: whom.
            serving: the replicas that serve now; if this one does not, what it is is asked first.

        Returns:
            What is wrong with it; nothing if it works.

        Raises:
            Starved: it could not be asked.
        """
        try:
            serves = endpoint.id in serving and endpoint.id in self._infos
            if not serves:
                self._infos[endpoint.id] = await self._fetch_info(endpoint)
                if problem := self.disagreement(endpoint.id, serving):
                    return problem
            return await self._infer(endpoint, serves=serves)
        except Starved:
            raise
        except (UpstreamError, ValueError) as error:
            if isinstance(error, Refused | Reset):
                self._absences[endpoint.id] += 1
            return str(error)

    async def _fetch_info(self, endpoint: Endpoint) -> dict[str, Any]:
        reply = await fetch(f"{endpoint.url}/info", timeout_s=_INFO_TIMEOUT_S)
        info = _json(reply, "/info")
        if not isinstance(info, dict) or not isinstance(info.get("model_type"), dict):
            raise Malformed("/info is not TEI's")
        return info

    async def _infer(self, endpoint: Endpoint, *, serves: bool) -> str:
        path, body = question(self._infos[endpoint.id])
        reply = await fetch(
            endpoint.url + path, method="POST", body=orjson.dumps(body), headers=[JSON], timeout_s=self._timeout_s
        )
        if reply.status == _FULL and serves:
            return ""  # it is at work for others: that is no failure, and ejecting it would only fill the rest
        if _CHECKS[path](_json(reply, path)):
            return ""
        return f"{path} answered {reply.body[:80].decode('utf-8', 'replace')}"


def question(info: dict[str, Any], texts: Sequence[str] = ()) -> tuple[str, dict[str, Any]]:
    """Path and body of what a replica can be asked, by its ``/info``.

    Args:
        info: of the replica.
        texts: none for the shortest question that there is.
    """
    kind, about = next(iter(info["model_type"].items()), ("", None))
    if kind == "reranker":
        return "/rerank", {"query": _TEXT, "texts": list(texts) or [_TEXT]}
    if kind == "classifier":
        return "/predict", {"inputs": [[text] for text in texts] or _TEXT}
    if (
        isinstance(about, dict) and about.get("pooling") == "splade"
    ):  # which /embed refuses unless it is not to be normalised
        return "/embed_sparse", {"inputs": list(texts) or _TEXT}
    return "/embed", {"inputs": list(texts) or _TEXT}


def _json(reply: Reply, path: str) -> Any:  # noqa: ANN401 - whatever the replica says
    if reply.status != 200:
        raise Malformed(f"{path} answered {reply.status}: {reply.body[:120].decode('utf-8', 'replace')}")
    return orjson.loads(reply.body)


def _is_vectors(answer: object) -> bool:
    """One vector of finite numbers: a NaN on a GPU is answered 200 with nulls."""
    return (
        isinstance(answer, list)
        and len(answer) == 1
        and isinstance(answer[0], list)
        and len(answer[0]) > 0
        and all(_is_finite(value) for value in answer[0])
    )


def _is_sparse(answer: object) -> bool:
    """One text's words, of which there may be none."""
    return (
        isinstance(answer, list)
        and len(answer) == 1
        and isinstance(answer[0], list)
        and all(isinstance(row, dict) and _is_finite(row.get("value")) for row in answer[0])
    )


def _is_ranking(answer: object) -> bool:
    return isinstance(answer, list) and len(answer) == 1 and _has_score(answer[0])


def _is_prediction(answer: object) -> bool:
    return isinstance(answer, list) and len(answer) > 0 and all(_has_score(row) for row in answer)


def _has_score(row: object) -> bool:
    return isinstance(row, dict) and _is_finite(row.get("score"))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_CHECKS: dict[str, Callable[[object], bool]] = {
    "/embed": _is_vectors,
    "/embed_sparse": _is_sparse,
    "/rerank": _is_ranking,
    "/predict": _is_prediction,
}
