"""Which replica gets which share of the machine's cores."""


def replica_count(wanted: int | str) -> int:
    """Replicas of a service on a machine without a GPU: as many as wanted, two if that is left to us.

    Two, so that one can die, be restarted or be busy with a long batch while the other answers.
    """
    return 2 if isinstance(wanted, str) else wanted


def worker_threads(wanted: int | str, *, replicas: int, cores: int) -> int:
    """Cores per replica: as wanted, else an equal share of all for each replica of a service, at least one.

    Services are not weighed against each other: when both are busy at once the kernel shares the cores between them,
    and when one is idle the other has them all.
    """
    return max(1, cores // replicas) if isinstance(wanted, str) else wanted
