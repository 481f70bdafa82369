"""What stands in front of replicas, and what it tells of each arrival."""

from dataclasses import dataclass, field
from typing import Protocol

from bench.workload import Arrival


class Door(Protocol):
    """A front door. It sends calls to replicas, and hears from them by the calls' callbacks and from the clock."""

    def arrive(self, arrival: Arrival) -> None:
        """A client asks; the door ends it by `Ledger.finish` or `Ledger.refuse`, once."""


@dataclass(slots=True)
class Ledger:
    """How each arrival ended.

    Attributes:
        latency_s: by number, of those that were answered.
        refused: those that were not, with the status.
        repeated_tokens: that were sent more than once.
    """

    latency_s: dict[int, float] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    repeated_tokens: int = 0

    @property
    def ended(self) -> int:
        """How many arrivals are over."""
        return len(self.latency_s) + len(self.refused)

    def finish(self, arrival: Arrival, now: float) -> None:
        """It was answered."""
        self._once(arrival)
        self.latency_s[arrival.number] = now - arrival.at_s

    def refuse(self, arrival: Arrival, status: int) -> None:
        """It was not."""
        self._once(arrival)
        self.refused[arrival.number] = status

    def _once(self, arrival: Arrival) -> None:
        if arrival.number in self.latency_s or arrival.number in self.refused:
            raise RuntimeError(f"arrival {arrival.number} ended twice")
