"""The record of how each arrival of a run ended."""

from dataclasses import dataclass, field

from embedfleet.load.workload import Arrival


@dataclass(slots=True)
class Ledger:
    """The record of a run's arrivals.

    Attributes:
        latency_s: Latency of each answered arrival, in seconds, by its number.
        refused: Status of each refused arrival, by its number.
        repeated_tokens: Tokens that were sent more than once.
    """

    latency_s: dict[int, float] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    repeated_tokens: int = 0

    @property
    def ended(self) -> int:
        """Number of arrivals that were answered or refused."""
        return len(self.latency_s) + len(self.refused)

    def finish(self, arrival: Arrival, now: float) -> None:
        """Record an answer.

        Raises:
            RuntimeError: The arrival has already ended.
        """
        self._check_open(arrival)
        self.latency_s[arrival.number] = now - arrival.at_s

    def refuse(self, arrival: Arrival, status: int) -> None:
        """Record a refusal.

        Raises:
            RuntimeError: The arrival has already ended.
        """
        self._check_open(arrival)
        self.refused[arrival.number] = status

    def _check_open(self, arrival: Arrival) -> None:
        if arrival.number in self.latency_s or arrival.number in self.refused:
            raise RuntimeError(f"arrival {arrival.number} ended twice")
