"""Health by inference: what is asked of a replica, and whether it is the model that the pool is.

A replica's GET /health can be 200 while every inference fails, and a replica that fails fast attracts traffic. So a
replica serves only once it has embedded or ranked something, and after a failure only once it has done so again. What
it computed is compared each time with what the pool computes: two models never answer for one service.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

import orjson

from embedfleet.dialects.routes import path_of
from embedfleet.errors import Malformed, Refused, Reset, Starved, UpstreamError
from embedfleet.http.client import Reply, fetch
from embedfleet.http.message import JSON
from embedfleet.probe.fingerprint import Fingerprint
from embedfleet.probe.question import is_answer, question
from embedfleet.probe.reference import HINT, Model, Reference
from embedfleet.probe.sample import Sample
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_INFO_TIMEOUT_S = 10.0
_FULL = 429
_MOST_BYTES = 4_194_304  # of an answer: the weights of a whole vocabulary may be as long, a vector never


class Prober:
    """Asks replicas to infer, and keeps what they say of themselves.

    Args:
        timeout_s: for the inference.
        clock: in seconds.

    Attributes:
        reference: the model that the pool is.
        differing: by replica, in what it was not the pool's model when it was probed last.
    """

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._infos: dict[str, dict[str, Any]] = {}
        self._models: dict[str, Model] = {}
        self._absences: Counter[str] = Counter()
        self.reference = Reference()
        self.differing: dict[str, str] = {}

    def info(self, serving: list[str]) -> dict[str, Any] | None:
        """The pool's ``/info``: that of the first replica that serves."""
        return next((self._infos[name] for name in serving if name in self._infos), None)

    def info_of(self, name: str) -> dict[str, Any] | None:
        """What a replica said of itself last, None before it did."""
        return self._infos.get(name)

    def absences(self, name: str) -> int:
        """How often nobody was found where a replica should be; who came after that may be another process."""
        return self._absences[name]

    def allow_change(self) -> None:
        """An operator says that the pool's model may change, see `Reference.allow_change`."""
        if self.reference.model is None:
            return
        self.reference.allow_change(self._clock())
        log.warning("the next replica of another model that infers is the pool's model: an operator said so")

    def admit(self, name: str) -> str:
        """A replica whose probe was good is about to serve: why it may not; nothing if it may.

        With an operator's word one of another model may, and is the pool's from then on: see `outdated`.
        """
        model = self._models.get(name)
        if model is None:
            return ""
        before = self.reference.model
        refusal = self._note(name, self.reference.admit(model, self._clock()))
        if before is not None and self.reference.model is not before:
            log.warning("replica %s is the first of the pool's new model", name, extra={"replica": name})
        return refusal

    def outdated(self, names: Iterable[str]) -> dict[str, str]:
        """Who of these is not the pool's model any more, as far as is known, and in what."""
        told = {name: self.reference.difference(self._models[name]) for name in names if name in self._models}
        return {name: self._note(name, difference) for name, difference in told.items() if difference}

    def keep(self, names: Collection[str]) -> None:
        """These are the replicas: what is known of others is dropped."""
        for told in (self._infos, self._models, self._absences, self.differing):
            for name in told.keys() - names:
                del told[name]

    async def probe(self, endpoint: Endpoint, serving: list[str], is_alone: Callable[[], bool] = lambda: True) -> str:
        """Ask one replica what it is, and to infer.

        Args:
            endpoint: whom.
            serving: the replicas that serve now.
            is_alone: whether nothing else was under way there since the probe began; asked once it has answered.

        Returns:
            What is wrong with it; nothing if it works and may serve.

        Raises:
            Starved: it could not be asked.
        """
        try:
            return await self._ask(endpoint, serves=endpoint.id in serving, is_alone=is_alone)
        except Starved:
            raise
        except (UpstreamError, ValueError) as error:
            if isinstance(error, Refused | Reset):
                self._absences[endpoint.id] += 1
            return str(error)

    async def _ask(self, endpoint: Endpoint, *, serves: bool, is_alone: Callable[[], bool]) -> str:
        info = await _info(endpoint, min(_INFO_TIMEOUT_S, self._timeout_s))
        self._infos[endpoint.id] = info
        fingerprint = Fingerprint.of(info)
        pool, now = self.reference.model, self._clock()
        told = "" if pool is None else fingerprint.difference(pool.fingerprint)
        if told and not self.reference.may_change(now):  # who says that it is another need not compute
            return self._note(endpoint.id, told)
        path, body = question(info)
        reply = await fetch(
            endpoint.url + path,
            method="POST",
            body=orjson.dumps(body),
            headers=[JSON],
            timeout_s=self._timeout_s,
            most_bytes=_MOST_BYTES,
        )
        if reply.status == _FULL and serves:
            return ""  # it is at work for others: that is no failure, and ejecting it would only fill the rest
        answer = _json(reply, path)
        if not is_answer(path, answer, body):
            return f"{path} answered {reply.body[:80].decode('utf-8', 'replace')}"
        sample = Sample.of(path, answer, is_late="late_interaction" in fingerprint.labels)
        model = Model(fingerprint, sample)
        if serves and sample.depends_on_company and not is_alone():
            return ""
        self._models[endpoint.id] = model
        return self._note(endpoint.id, self.reference.refusal(model, self._clock()))

    def _note(self, name: str, difference: str) -> str:
        """Remember in what a replica is not the pool's model, and log it once; returns it with what to do."""
        if not difference:
            self.differing.pop(name, None)
            return ""
        reason = f"another model: {difference} ({HINT})"
        if self.differing.get(name) != difference:
            self.differing[name] = difference
            log.warning("replica %s is kept out, it is %s", name, reason, extra={"replica": name})
        return reason


async def _info(endpoint: Endpoint, timeout_s: float) -> dict[str, Any]:
    path = path_of("info")
    info = _json(await fetch(endpoint.url + path, timeout_s=timeout_s, most_bytes=_MOST_BYTES), path)
    if not isinstance(info, dict) or not isinstance(info.get("model_type"), dict):
        raise Malformed(f"{path} is not TEI's")
    return info


def _json(reply: Reply, path: str) -> Any:  # noqa: ANN401 - whatever the replica says
    if reply.status != 200:
        raise Malformed(f"{path} answered {reply.status}: {reply.body[:120].decode('utf-8', 'replace')}")
    return orjson.loads(reply.body)
