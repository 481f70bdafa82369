"""The connection pools of all replicas, and of replicas that moved or were removed while their calls last."""

from collections.abc import Callable

from embedfleet.gateway.upstream.connection_pool import ConnectionPool
from embedfleet.types import Endpoint


class ConnectionPools:
    """The connection pools of all replicas.

    Args:
        hold_bytes: Size of the largest reply that is held until it is complete.
        timeout_s: Seconds from the send to the end of a reply.

    Attributes:
        by_name: Pools of the present replicas, by name.
    """

    def __init__(self, hold_bytes: int, timeout_s: float) -> None:
        self.by_name: dict[str, ConnectionPool] = {}
        self._hold_bytes = hold_bytes
        self._timeout_s = timeout_s
        self._retiring: list[ConnectionPool] = []

    def provide(self, endpoint: Endpoint, on_doubt: Callable[[], None]) -> bool:
        """Ensure that a replica has a pool for its address; return whether it had one for another address."""
        known = self.by_name.get(endpoint.id)
        if known is not None and known.url == endpoint.url:
            return False
        if known is not None:
            self.retire(endpoint.id)
        self.by_name[endpoint.id] = ConnectionPool(
            endpoint.id, endpoint.url, hold_bytes=self._hold_bytes, timeout_s=self._timeout_s, on_doubt=on_doubt
        )
        return known is not None

    def retire(self, name: str) -> None:
        """Remove a replica's pool, which closes once its calls have ended."""
        pool = self.by_name.pop(name)
        pool.close()
        self._retiring.append(pool)

    def sweep(self, now: float) -> None:
        """Fail overdue calls and close idle connections in every pool; called regularly."""
        self._retiring = [pool for pool in self._retiring if pool.is_busy]
        for pool in (*self.by_name.values(), *self._retiring):
            pool.sweep(now)

    def stood_still(self, seconds: float) -> None:
        """Exclude from all time-outs a period in which the gateway read nothing."""
        for pool in (*self.by_name.values(), *self._retiring):
            pool.stood_still(seconds)

    def close(self) -> None:
        """Close the pools of the present replicas."""
        for pool in self.by_name.values():
            pool.close()
