"""Log lines about replicas: changes of state, convictions of requests, and connections that cannot be made."""

import logging
from collections.abc import Iterable
from math import inf
from typing import Final

from embedfleet.errors import UpstreamError
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.types import ReplicaState

log = logging.getLogger(__name__)

_SHORTAGE_LINE_S: Final = 5.0  # least seconds between two lines about connections that cannot be made


class ReplicaLog:
    """Writes log lines about replicas, without repeating unchanged states.

    Args:
        quarantine_s: Seconds for which a text that killed two replicas is refused.
    """

    def __init__(self, quarantine_s: float) -> None:
        self._quarantine_s = quarantine_s
        self._states: dict[str, ReplicaState] = {}
        self._failing: set[str] = set()  # joining replicas whose first failed probe was logged
        self._short_at = -inf

    def states(self, replicas: Iterable[Replica]) -> None:
        """Log the replicas that changed state since the last call, and each that fails its first probe."""
        for replica in replicas:
            name, state = replica.id, replica.state
            if state is not ReplicaState.JOINING:
                self._failing.discard(name)
            elif replica.reason and name not in self._failing:
                self._failing.add(name)
                log.warning(
                    "replica %s does not serve yet, and is probed until it does: %s",
                    name,
                    replica.reason,
                    extra={"replica": name, "state": state},
                )
            if self._states.get(name, ReplicaState.JOINING) is not state:
                why = f": {replica.reason}" if replica.reason else ""
                log.info("replica %s is %s%s", name, state, why, extra={"replica": name, "state": state})
            self._states[name] = state

    def gone(self, name: str) -> None:
        """Log a replica that was removed and has drained."""
        self._states.pop(name, None)
        self._failing.discard(name)
        log.info("replica %s has drained and was removed", name, extra={"replica": name})

    def conviction(self, name: str, request_id: bytes) -> None:
        """Log a replica that died with a request with which another had died before.

        Args:
            name: Name of the replica.
            request_id: Id of the request; empty if it has none.
        """
        known = request_id.decode("latin-1") or "unknown"
        log.error(
            "replica %s died with request %s as its only work, and another replica had died with it before:"
            " equal requests are refused for %g s",
            name,
            known,
            self._quarantine_s,
            extra={"replica": name, "request_id": known},
        )

    def shortage(self, error: UpstreamError, now: float) -> None:
        """Log a connection that could not be made; many at once make one line."""
        if now - self._short_at > _SHORTAGE_LINE_S:
            self._short_at = now
            log.warning("no connection can be made: %s; raise the limit of open files (ulimit -n, LimitNOFILE)", error)
