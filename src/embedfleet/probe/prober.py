"""Probes: inferences that show that a replica works, and that it runs the pool's model.

A replica's GET /health may say 200 while every inference fails, and a replica that fails fast attracts traffic. So a
replica serves only after it has answered an inference, and after a failure it must answer one again. Each probe
compares the result with that of the pool's model, so that two models never serve side by side.
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
from embedfleet.probe.pool_model import HINT, ModelIdentity, PoolModel
from embedfleet.probe.question import is_answer, question
from embedfleet.probe.sample import Sample
from embedfleet.types import Endpoint

log = logging.getLogger(__name__)

_INFO_TIMEOUT_S = 10.0
_FULL = 429
_MOST_BYTES = 4_194_304  # size limit of an answer; only the weights of a whole vocabulary are nearly as large


class Prober:
    """Probes replicas, and keeps their ``/info`` and the identity of their models.

    Args:
        timeout_s: Time limit of one inference, in seconds.
        clock: Clock in seconds.

    Attributes:
        pool_model: Model of the pool.
        differing: Differences from the pool's model at the last probe, by name of the replica; equal ones have no
            entry.
    """

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._infos: dict[str, dict[str, Any]] = {}
        self._models: dict[str, ModelIdentity] = {}
        self._absences: Counter[str] = Counter()
        self.pool_model = PoolModel()
        self.differing: dict[str, str] = {}

    def info(self, serving: list[str]) -> dict[str, Any] | None:
        """The ``/info`` of the first serving replica, for the pool; None if none serves."""
        return next((self._infos[name] for name in serving if name in self._infos), None)

    def info_of(self, name: str) -> dict[str, Any] | None:
        """A replica's last ``/info``; None if there was none yet."""
        return self._infos.get(name)

    def absences(self, name: str) -> int:
        """Number of probes whose connection was refused or broke; after each, another process may listen there."""
        return self._absences[name]

    def allow_change(self) -> None:
        """Let the next replica with another model change the pool's model, at an operator's request."""
        if self.pool_model.model is None:
            return
        self.pool_model.allow_change(self._clock())
        log.warning(
            "the next replica with another model that infers changes the pool's model: an operator permitted it"
        )

    def admit(self, name: str) -> str:
        """Say why a replica with a good probe may not serve; empty if it may.

        With an operator's permission, a replica with another model may serve, and changes the pool's model; `outdated`
        then lists the other replicas.
        """
        model = self._models.get(name)
        if model is None:
            return ""
        before = self.pool_model.model
        refusal = self._note(name, self.pool_model.admit(model, self._clock()))
        if before is not None and self.pool_model.model is not before:
            log.warning("replica %s is the first of the pool's new model", name, extra={"replica": name})
        return refusal

    def outdated(self, names: Iterable[str]) -> dict[str, str]:
        """List the replicas among ``names`` that do not run the pool's current model, with the difference."""
        told = {name: self.pool_model.difference(self._models[name]) for name in names if name in self._models}
        return {name: self._note(name, difference) for name, difference in told.items() if difference}

    def keep(self, names: Collection[str]) -> None:
        """Forget all replicas except the given ones."""
        for told in (self._infos, self._models, self._absences, self.differing):
            for name in told.keys() - names:
                del told[name]

    async def probe(self, endpoint: Endpoint, serving: list[str], is_alone: Callable[[], bool] = lambda: True) -> str:
        """Ask one replica for its ``/info`` and for an inference.

        Args:
            endpoint: Endpoint of the replica.
            serving: Names of the replicas that serve now.
            is_alone: Function that tells, after the answer, whether the replica had no other work during the probe.

        Returns:
            Description of the problem; empty if the replica works and may serve.

        Raises:
            Starved: This process lacks open files, memory or ports for the probe.
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
        pool, now = self.pool_model.model, self._clock()
        told = "" if pool is None else fingerprint.difference(pool.fingerprint)
        if told and not self.pool_model.may_change(now):  # it is refused without an inference
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
            return ""  # it is busy with clients' requests; ejecting it would only overload the others
        answer = _json(reply, path)
        if not is_answer(path, answer, body):
            return f"{path} answered {reply.body[:80].decode('utf-8', 'replace')}"
        sample = Sample.of(path, answer, is_late="late_interaction" in fingerprint.labels)
        model = ModelIdentity(fingerprint, sample)
        if serves and sample.depends_on_company and not is_alone():
            return ""
        self._models[endpoint.id] = model
        return self._note(endpoint.id, self.pool_model.refusal(model, self._clock()))

    def _note(self, name: str, difference: str) -> str:
        """Record and log a replica's difference from the pool's model; return it with a hint."""
        if not difference:
            self.differing.pop(name, None)
            return ""
        reason = f"another model: {difference} ({HINT})"
        if self.differing.get(name) != difference:
            self.differing[name] = difference
            log.warning("replica %s is kept out, it runs %s", name, reason, extra={"replica": name})
        return reason


async def _info(endpoint: Endpoint, timeout_s: float) -> dict[str, Any]:
    path = path_of("info")
    info = _json(await fetch(endpoint.url + path, timeout_s=timeout_s, most_bytes=_MOST_BYTES), path)
    if not isinstance(info, dict) or not isinstance(info.get("model_type"), dict):
        raise Malformed(f"{path} has no model_type, which TEI has")
    return info


def _json(reply: Reply, path: str) -> Any:  # noqa: ANN401 - any JSON value
    if reply.status != 200:
        raise Malformed(f"{path} answered {reply.status}: {reply.body[:120].decode('utf-8', 'replace')}")
    return orjson.loads(reply.body)
