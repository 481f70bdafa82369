"""The throughput of a replica whose queue is never empty, which is the unit of load."""

import random
from functools import cache

from embedfleet.load.workload import WORKLOADS
from embedfleet.simulation.batch_cost import BatchCost

_TEXTS = 50_000


@cache
def tokens_per_s(workload: str, cost: BatchCost) -> float:
    """Return the useful tokens per second of one replica with a full queue of the workload's texts in arrival order.

    Without padding, this is the tokens of a full batch divided by its time. With padding, it is less, by the padding of
    unsorted batches in a fixed sample of texts.
    """
    if not cost.padded:
        return cost.tokens_per_s
    source = random.Random(2)  # noqa: S311 - a sample, not secrets
    draw = WORKLOADS[workload]
    texts: list[int] = []
    while len(texts) < _TEXTS:
        texts += draw(source)[1]
    batch: list[int] = []
    tokens, seconds = 0, 0.0
    for text in texts:
        if batch and (len(batch) + 1) * max(*batch, text) > cost.batch_tokens:
            seconds += cost.seconds(batch)
            batch = []
        batch.append(text)
        tokens += text
    return tokens / (seconds + cost.seconds(batch))
