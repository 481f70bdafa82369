"""What the log is told of replicas: who changed state and why, what one died of, and that we cannot reach them."""

import logging
from collections.abc import Iterable
from math import inf
from typing import Final

from embedfleet.errors import UpstreamError
from embedfleet.gateway.dispatch.replica import Replica, State
from embedfleet.gateway.requests.attempt import Attempt
from embedfleet.gateway.requests.client_request import Flight

log = logging.getLogger(__name__)

_SHORTAGE_LINE_S: Final = 5.0  # between two lines about it


class Notices:
    """Writes these lines, each once.

    Args:
        quarantine_s: for how long what killed two replicas is refused.
    """

    def __init__(self, quarantine_s: float) -> None:
        self._quarantine_s = quarantine_s
        self._states: dict[str, State] = {}
        self._short_at = -inf

    def states(self, replicas: Iterable[Replica]) -> None:
        """Tell who changed state since the last time."""
        for replica in replicas:
            name, state = replica.id, replica.state
            if self._states.get(name, State.JOINING) is not state:
                why = f": {replica.reason}" if replica.reason else ""
                log.info("replica %s is %s%s", name, state, why, extra={"replica": name, "state": state})
            self._states[name] = state

    def gone(self, name: str) -> None:
        """A replica was told to go, and has."""
        self._states.pop(name, None)
        log.info("replica %s has drained and is gone", name, extra={"replica": name})

    def conviction(self, attempt: Attempt) -> None:
        """A second replica died over a request: who looks for the reason has to know which."""
        request, name = attempt.asked.request, attempt.replica.id
        known = request.request_id.decode("latin-1") if isinstance(request, Flight) else "unknown"
        log.error(
            "replica %s died when it had nothing but request %s, as another had before: its like is refused for %g s",
            name,
            known,
            self._quarantine_s,
            extra={"replica": name, "request_id": known},
        )

    def shortage(self, error: UpstreamError, now: float) -> None:
        """No connection could be made; of many at once there is one line."""
        if now - self._short_at > _SHORTAGE_LINE_S:
            self._short_at = now
            log.warning("no connection can be made: %s; raise the limit of open files (ulimit -n, LimitNOFILE)", error)
