"""Decides which containers stay, are removed or are put back when the start of a fleet fails.

An update replaces containers that served before. If it fails, those must serve again. A new replica stays only
if it serves the same model as the one that it replaced: two models must never serve side by side.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartRecord:
    """The progress of one child's start.

    Attributes:
        name: Name of the child.
        was_found: Whether a child of this name ran before the fleet started.
        was_stale: Whether the child that was found differed from its spec, so that it had to be replaced.
        had_other_model: Whether the child that was found served another model than its spec says.
        was_started: Whether the fleet has started the child or taken it over.
        has_served: Whether it has inferred since then.
    """

    name: str
    was_found: bool
    was_stale: bool
    had_other_model: bool
    was_started: bool
    has_served: bool

    @property
    def keeps_running(self) -> bool:
        """Whether the child of this name keeps running when the fleet fails."""
        if not self.was_found:
            return False
        if not self.was_stale or not self.was_started:
            return True
        return self.has_served and not self.had_other_model


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The decision about the containers of a fleet whose start failed.

    Attributes:
        removed: Names whose new container is removed; the one that was set aside, if any, is put back.
        superseded: Names whose former container is removed, because the new one serves in its place.
    """

    removed: frozenset[str]
    superseded: frozenset[str]


def leftovers(records: Iterable[StartRecord], set_aside: Collection[str]) -> Leftovers:
    """Decide which containers are removed after a failed start.

    Args:
        records: Records of the fleet's containers.
        set_aside: Original names of the containers that were set aside.
    """
    started = [record for record in records if record.was_started]
    return Leftovers(
        removed=frozenset(
            record.name
            for record in started
            if not record.keeps_running or (record.name in set_aside and not record.has_served)
        ),
        superseded=frozenset(record.name for record in started if record.keeps_running and record.has_served),
    )
