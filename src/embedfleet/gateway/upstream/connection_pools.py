"""The connections to all replicas, and those of replicas that moved or went until their calls are done."""

from collections.abc import Callable

from embedfleet.gateway.upstream.connection_pool import ConnectionPool
from embedfleet.types import Endpoint


class ConnectionPools:
    """Connection pools by the names of their replicas.

    Args:
        hold_bytes: Size of the largest reply that is held until it is whole.
        timeout_s: Seconds from the sending to the end of a reply; see `ConnectionPool`.

    Attributes:
        by_name: Pools of the present replicas.
    """

    def __init__(self, hold_bytes: int, timeout_s: float) -> None:
        self.by_name: dict[str, ConnectionPool] = {}
        self._hold_bytes = hold_bytes
        self._timeout_s = timeout_s
        self._retiring: list[ConnectionPool] = []

    def provide(self, endpoint: Endpoint, on_doubt: Callable[[], None]) -> bool:
        """Make sure that a replica has a pool at its address; return whether it had one at another address."""
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
        """Close a replica's pool once its calls are done."""
        pool = self.by_name.pop(name)
        pool.close()
        self._retiring.append(pool)

    def sweep(self, now: float) -> None:
        """End what took too long in every pool; call this now and then."""
        self._retiring = [pool for pool in self._retiring if pool.is_busy]
        for pool in (*self.by_name.values(), *self._retiring):
            pool.sweep(now)

    def stood_still(self, seconds: float) -> None:
        """Leave out a period in which the gateway read nothing: it counts for no call."""
        for pool in (*self.by_name.values(), *self._retiring):
            pool.stood_still(seconds)

    def close(self) -> None:
        """Close the pools of the present replicas."""
        for pool in self.by_name.values():
            pool.close()
