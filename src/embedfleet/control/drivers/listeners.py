"""The listening sockets of gateways that are processes: ours, so that each outlives the gateways that accept from it.

A client that connects while no gateway runs waits in the socket's queue for the next one. A gateway is handed the
socket when it is started; two may accept from it at once.
"""

import socket
from collections.abc import Iterable

from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.errors import UsageError
from embedfleet.http.server import BACKLOG, bind


class Listeners:
    """See the module.

    Args:
        plan: of the fleet; those of its children that listen are given a socket each.

    Raises:
        UsageError: an address cannot be bound.
    """

    def __init__(self, plan: Iterable[ChildSpec]) -> None:
        self._sockets: dict[str, socket.socket] = {}
        try:
            for spec in plan:
                if isinstance(spec, ProcessSpec) and spec.listens is not None:
                    self._sockets[spec.name] = _listen(spec.service, *spec.listens)
        except BaseException:
            self.close()
            raise

    def descriptor(self, child: str) -> int | None:
        """The socket of a child, to be inherited; None if none is held for it."""
        found = self._sockets.get(child)
        return None if found is None else found.fileno()

    def close(self) -> None:
        """Hold them no longer: who is not accepted by a gateway that still runs is refused."""
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
