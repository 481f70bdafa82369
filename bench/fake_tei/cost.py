"""The batch costs of fake replicas."""

from embedfleet.simulation.batch_cost import BatchCost

MEASURED = BatchCost(a_s=0.006, b_s=1 / 75_000)
"""The default cost: twice the simulator's default, so that a millisecond of jitter matters little."""


def measured_cost(workload: str) -> BatchCost:
    """The cost for a workload: `MEASURED`, unless the requests per second would be too many.

    Short queries are 20 tokens each: at 75,000 tokens per second and replica, 10,000 requests per second would
    measure the load generator.
    """
    return BatchCost(MEASURED.a_s, 1 / 5_000) if workload == "short" else MEASURED
