"""Which replica gets which device, and which share of the machine's cores."""

from collections.abc import Sequence

from embedfleet.control.host.gpu import Gpu


def replica_count(wanted: int | str, *, gpus: int = 0) -> int:
    """Replicas of a service: as many as wanted; if that is left to us one per GPU, or two without any.

    Two, so that one can die, be restarted or be busy with a long batch while the other answers.
    """
    return (gpus or 2) if isinstance(wanted, str) else wanted


def assign(count: int, gpus: Sequence[Gpu]) -> list[Gpu | None]:
    """The GPU of each replica, in turn: every GPU has one before any has two."""
    return [gpus[number % len(gpus)] if gpus else None for number in range(count)]


def worker_threads(wanted: int | str, *, replicas: int, cores: int) -> int:
    """Cores per replica: as wanted, else an equal share of all for each replica of a service, at least one.

    Services are not weighed against each other: when both are busy at once the kernel shares the cores between them,
    and when one is idle the other has them all.
    """
    return max(1, cores // replicas) if isinstance(wanted, str) else wanted


def tokenization_workers(wanted: int | str, *, replicas: int, cores: int) -> int:
    """Tokenizer workers of one container: as wanted, else the cores shared by all replicas of the fleet, 1 to 64."""
    return min(64, max(1, cores // max(1, replicas))) if isinstance(wanted, str) else wanted
