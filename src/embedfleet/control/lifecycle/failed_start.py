"""Decides what the failed start of a fleet leaves, for replicas that go on, go, or come back.

An update replaces containers that served before. If it fails, what served before must serve again. A new replica stays
only if it serves the same model as the one that it replaced: two models must never serve side by side.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartRecord:
    """How far the start of one child got.

    Attributes:
        name: Name of the child.
        was_found: A child of this name ran before the fleet started.
        was_stale: The child that was found differed from its spec, and was to be replaced.
        had_other_model: The child that was found served another model than its spec says.
        was_started: The fleet has started the child or taken it over.
        has_served: It has inferred since then.
    """

    name: str
    was_found: bool
    was_stale: bool
    had_other_model: bool
    was_started: bool
    has_served: bool

    @property
    def goes_on(self) -> bool:
        """Whether what runs under this name goes on running when the fleet fails."""
        if not self.was_found:
            return False
        if not self.was_stale or not self.was_started:
            return True
        return self.has_served and not self.had_other_model


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Decision about the containers of a fleet whose start failed.

    Attributes:
        removed: Names under which the new container goes, and the one that was set aside comes back, if there is one.
        superseded: Names whose container that was set aside goes, because the new one serves in its place.
    """

    removed: frozenset[str]
    superseded: frozenset[str]


def leftovers(records: Iterable[StartRecord], set_aside: Collection[str]) -> Leftovers:
    """Decide which containers a failed start leaves.

    Args:
        records: The fleet's containers.
        set_aside: Names whose former container was set aside.
    """
    started = [record for record in records if record.was_started]
    return Leftovers(
        removed=frozenset(
            record.name
            for record in started
            if not record.goes_on or (record.name in set_aside and not record.has_served)
        ),
        superseded=frozenset(record.name for record in started if record.goes_on and record.has_served),
    )
