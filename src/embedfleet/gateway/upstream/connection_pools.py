"""The connections to all replicas: a pool for each, and those of replicas that moved or went until they are done."""

from collections.abc import Callable

from embedfleet.gateway.upstream.transport import Pool
from embedfleet.types import Endpoint


class Pools:
    """Pools by their replicas' names.

    Args:
        hold_bytes: the largest reply that is held until it is whole.
        timeout_s: of a call, see `Pool`.

    Attributes:
        by_name: of the present replicas.
    """

    def __init__(self, hold_bytes: int, timeout_s: float) -> None:
        self.by_name: dict[str, Pool] = {}
        self._hold_bytes = hold_bytes
        self._timeout_s = timeout_s
        self._retiring: list[Pool] = []

    def provide(self, endpoint: Endpoint, on_doubt: Callable[[], None]) -> bool:
        """See that a replica has a pool at its address; whether it had one at another."""
        known = self.by_name.get(endpoint.id)
        if known is not None and known.url == endpoint.url:
            return False
        if known is not None:
            self.retire(endpoint.id)
        self.by_name[endpoint.id] = Pool(
            endpoint.url, hold_bytes=self._hold_bytes, timeout_s=self._timeout_s, on_doubt=on_doubt
        )
        return known is not None

    def retire(self, name: str) -> None:
        """Close a replica's pool once its calls are done."""
        pool = self.by_name.pop(name)
        pool.close()
        self._retiring.append(pool)

    def sweep(self, now: float) -> None:
        """To be called now and then, see `Pool.sweep`."""
        self._retiring = [pool for pool in self._retiring if pool.busy]
        for pool in (*self.by_name.values(), *self._retiring):
            pool.sweep(now)

    def stood_still(self, seconds: float) -> None:
        """Nothing was read for so long: that time counts for no call."""
        for pool in (*self.by_name.values(), *self._retiring):
            pool.stood_still(seconds)

    def close(self) -> None:
        """Close what is open."""
        for pool in self.by_name.values():
            pool.close()
