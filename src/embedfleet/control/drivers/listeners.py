"""Listening sockets of gateway processes, which the supervisor holds so that they outlive the gateways.

A gateway inherits its socket when it is started, and two gateways may accept from one socket. A client that connects
while no gateway runs waits in the socket's queue for the next one.
"""

import socket
from collections.abc import Iterable

from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.errors import UsageError
from embedfleet.http.server import BACKLOG, bind


class Listeners:
    """Listening sockets of a fleet.

    Args:
        sockets: Sockets, by the name of the child that inherits each.
    """

    def __init__(self, sockets: dict[str, socket.socket]) -> None:
        self._sockets = sockets

    @classmethod
    def open(cls, plan: Iterable[ChildSpec]) -> "Listeners":
        """Open a socket for each child of a plan that listens.

        Raises:
            UsageError: An address cannot be bound.
        """
        listeners = cls({})
        try:
            for spec in plan:
                if isinstance(spec, ProcessSpec) and spec.listens is not None:
                    listeners._sockets[spec.name] = _listen(spec.service, *spec.listens)
        except BaseException:
            listeners.close()
            raise
        return listeners

    def descriptor(self, child: str) -> int | None:
        """Return the descriptor of the socket that a child inherits; None if it inherits none."""
        found = self._sockets.get(child)
        return None if found is None else found.fileno()

    def close(self) -> None:
        """Close the sockets; new clients are then refused, unless a gateway that still runs accepts them."""
        for held in self._sockets.values():
            held.close()
        self._sockets.clear()


def _listen(service: str, host: str, port: int) -> socket.socket:
    try:
        held = bind(host, port)
    except OSError as error:
        raise UsageError(
            f"{error.strerror or error} (services.{service}.port)",
            f"stop what listens there, or choose another port (--set {service}.port=9001)",
        ) from error
    held.listen(BACKLOG)
    return held
