"""Order in which an update replaces the replicas of a service: one at a time, while its neighbours serve."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet


def held_back(stale: Sequence[str], neighbours: Mapping[str, bool], serving: AbstractSet[str]) -> set[str]:
    """Return the names of the replicas that must not be replaced now.

    The first stale one may be replaced once every neighbour that is not drained serves. The last one stays while all
    its neighbours are drained, because nothing else would serve.

    Args:
        stale: Names of the replicas that must be replaced, in order.
        neighbours: Whether each of the other replicas is drained, by name.
        serving: Names of the replicas that serve.
    """
    is_waiting = any(name not in serving and not is_drained for name, is_drained in neighbours.items())
    is_last = len(stale) == 1 and bool(neighbours) and all(neighbours.values())
    return set(stale if is_waiting or is_last else stale[1:])
