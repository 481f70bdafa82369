"""Sending of queued online work, the earliest deadline first, as soon as a replica has room."""

from embedfleet.gateway.dispatch.commands import Command, Send
from embedfleet.gateway.dispatch.open_requests import OpenRequests
from embedfleet.gateway.dispatch.pool import Pool
from embedfleet.gateway.dispatch.quarantine import Quarantine


class OnlineSender:
    """Sends what waits in the online queue.

    Args:
        pool: Replicas of the service.
        requests: Open requests, with the online queue.
        quarantine: Quarantine, for chunks with a text that a replica has died with since they arrived.
    """

    def __init__(self, pool: Pool, requests: OpenRequests, quarantine: Quarantine) -> None:
        self._pool = pool
        self._requests = requests
        self._queue = requests.online_queue
        self._records = requests.records
        self._quarantine = quarantine

    def dispatch(self, now: float) -> list[Command]:
        """Send as many waiting chunks as the replicas have room for."""
        commands: list[Command] = []
        while (chunk := self._queue.head) is not None:
            if self._records.known and self._records.of(chunk.fingerprints, now):
                commands += self._quarantine.withdraw(chunk, now)
                continue
            replica = self._pool.place_online(chunk, now)
            if replica is None:
                break
            self._queue.remove(chunk)
            self._requests.send(chunk, replica, now)
            commands.append(Send(chunk, replica))
        return commands
