"""Balancer for a service with a gateway, which probes the replicas itself and is controlled over its admin socket."""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import orjson
from typing_extensions import override

from embedfleet.control.balancers.base import Balancer
from embedfleet.errors import Malformed, UpstreamError
from embedfleet.http.client import Reply, fetch
from embedfleet.probe.pool_model import CHANGE_ALLOWED_S
from embedfleet.types import CODE_HEADER, Endpoint, Member, ReplicaReport

_OK = 200
_TIMEOUT_S = 5.0
_REPORTS_S = 2.0  # short, because callers must know soon that a gateway does not report


class GatewayBalancer(Balancer):
    """A gateway that is a process.

    Args:
        socket: Path of the gateway's admin socket.
    """

    def __init__(self, socket: str) -> None:
        self._socket = f"http+unix://{socket}:"
        self._new_model_until = 0.0  # end of an operator's permission, in monotonic time
        self._drained: frozenset[str] = frozenset()  # as sent last

    @property
    @override
    def may_start(self) -> bool:
        return True

    @override
    async def publish(self, endpoints: Sequence[Endpoint], drained: AbstractSet[str]) -> None:
        """Send the gateway its replicas; the flag ``drained`` is sent only for those that have or had it."""
        named = drained | self._drained
        members = [Member(each, each.id in drained if each.id in named else None) for each in endpoints]
        await self._tell(members)
        self._drained = frozenset(drained)

    @override
    async def reports(self) -> Sequence[ReplicaReport]:
        try:
            reply = await self._call("/replicas", timeout_s=_REPORTS_S)
        except UpstreamError:
            return []
        self.code = reply.headers.get(CODE_HEADER, "")
        return [ReplicaReport.from_json(row) for row in orjson.loads(reply.body)]

    @override
    async def ask(self, timeout_s: float) -> None:
        await self._call("/replicas", timeout_s=timeout_s)

    @override
    async def allow_new_model(self) -> None:
        await self._call("/new-model", method="POST")
        self._new_model_until = time.monotonic() + CHANGE_ALLOWED_S

    async def inherit(self, former: "GatewayBalancer") -> None:
        """Take over a former gateway's permission for a new model, if that still holds.

        Raises:
            UpstreamError: The gateway does not take the order now.
        """
        if former.may_have_new_model:
            await self.allow_new_model()

    @property
    def may_have_new_model(self) -> bool:
        """Whether an operator's permission for a new model still holds."""
        return time.monotonic() < self._new_model_until

    @override
    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    async def listen(self) -> None:
        """Make a gateway that was started with ``--listen-later`` accept clients.

        Raises:
            UpstreamError: The gateway does not take the order now.
        """
        await self._call("/listen", method="POST")

    async def retire(self) -> None:
        """Make the gateway accept no more clients, and end once the last one has gone.

        Raises:
            UpstreamError: The gateway does not take the order now.
        """
        await self._call("/retire", method="POST")

    async def _tell(self, members: Sequence[Member]) -> None:
        await self._call("/replicas", method="PUT", body=orjson.dumps([member.to_json() for member in members]))

    async def _call(self, path: str, *, method: str = "GET", body: bytes = b"", timeout_s: float = _TIMEOUT_S) -> Reply:
        """Send a request to the gateway's admin socket.

        Raises:
            UpstreamError: The gateway does not answer, or refuses.
        """
        reply = await fetch(f"{self._socket}{path}", method=method, body=body, timeout_s=timeout_s)
        if reply.status != _OK:
            raise Malformed(f"{method} {path} was answered {reply.status} {reply.body[:200].decode(errors='replace')}")
        return reply
